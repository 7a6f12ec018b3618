package sfbatch
object Placeholder
