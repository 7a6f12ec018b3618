// One source, two jars: the Spark compiled against is a function of the Scala binary version (EMR 7: 3.5, EMR on Spark 8: 4.0).
// What later Sparks of a line changed is called by name (Later.scala).
ThisBuild / version := "0.1.0"
ThisBuild / organization := "io.github.sfbatch"
ThisBuild / crossScalaVersions := Seq("2.12.18", "2.13.16")
ThisBuild / scalaVersion := "2.12.18"

val sparkFor = Map("2.12" -> "3.5.6", "2.13" -> "4.0.2")
val sparkVersion = Def.setting(sparkFor(scalaBinaryVersion.value))
val hadoopFor = Map("3.5" -> "3.3.4", "4.0" -> "3.4.1", "4.1" -> "3.4.2") // Spark's own
val cloudFor = Map("3.5" -> "3.5.7", "4.0" -> "4.0.2", "4.1" -> "4.1.2") // there is no 3.5.6
val sparkBinary = Def.setting(sparkVersion.value.split('.').take(2).mkString("."))
val sparkRun = Def.setting(sys.env.getOrElse("RUN_SPARK", sparkBinary.value)) // of the tests' parts: `RUN_SPARK=4.1`

lazy val sfbatch = (project in file("."))
  .settings(
    name := "sfbatch",
    moduleName := s"sfbatch-spark-${if (scalaBinaryVersion.value == "2.12") "3.5" else "4"}", // one jar for every Spark 4
    libraryDependencies ++= Seq(
      "org.apache.spark" %% "spark-sql" % sparkVersion.value % Provided,
      "org.apache.spark" %% "spark-hive" % sparkVersion.value % Provided,
      "org.scalameta" %% "munit" % "1.2.1" % Test,
      "io.delta" %% "delta-spark" % (if (scalaBinaryVersion.value == "2.12") "3.3.2"
                                     else "4.0.0") % Test // in one session with us
    ),
    Compile / unmanagedSourceDirectories := Seq(
      baseDirectory.value / "scala" / "main",
      baseDirectory.value / "scala" / s"spark-${sparkBinary.value}"
    ),
    Compile / packageBin / mappings ~= (_.filterNot(_._2.startsWith("org/apache/spark/sql/catalyst/"))), // LaterTypes
    Compile / unmanagedResourceDirectories := Seq(baseDirectory.value / "scala" / "resources"),
    Test / unmanagedSourceDirectories := Seq(baseDirectory.value / "tests" / "scala"),
    Test / unmanagedResourceDirectories := Nil,
    scalacOptions ++= Seq("-deprecation", "-feature", "-unchecked", "-Xlint:infer-any") ++ (
      if (scalaBinaryVersion.value == "2.12") Seq("-Ypartial-unification", "-Xfatal-warnings")
      else Seq("-Werror", "-Wconf:msg=JavaConverters:s") // the one import both Scalas have
    ),
    javacOptions ++= Seq("--release", "17"),
    Test / fork := true,
    Test / parallelExecution := false,
    Test / javaOptions ++= Seq(
      "-Xmx2g",
      "-XX:TieredStopAtLevel=1",
      "-XX:ReservedCodeCacheSize=240m",
      "-XX:+UseSerialGC"
    ) ++ Seq(
      "java.base/java.lang",
      "java.base/java.lang.invoke",
      "java.base/java.lang.reflect",
      "java.base/java.io",
      "java.base/java.net",
      "java.base/java.nio",
      "java.base/java.util",
      "java.base/java.util.concurrent",
      "java.base/java.util.concurrent.atomic",
      "java.base/sun.nio.ch",
      "java.base/sun.nio.cs",
      "java.base/sun.security.action",
      "java.base/sun.util.calendar"
    ).map(p => s"--add-opens=$p=ALL-UNNAMED") :+ "-Djdk.reflect.useDirectMethodHandle=false"
  )

/** hadoop-aws and its AWS SDK (280 and 558 MB), and Spark's side of S3A's committers for the bare writes, for the tests
  * against an S3 server alone; nothing is compiled against them.
  */
lazy val s3 = (project in file("build/s3")).settings(
  libraryDependencies ++= Seq(
    "org.apache.hadoop" % "hadoop-aws" % hadoopFor(sparkRun.value),
    "org.apache.spark" % s"spark-hadoop-cloud_${if (sparkRun.value == "3.5") "2.12" else "2.13"}" % cloudFor(
      sparkRun.value
    ) intransitive ()
  ),
  autoScalaLibrary := false,
  TaskKey[Unit]("classPath", "writes build/s3-<Spark version>.classpath") := IO.write(
    baseDirectory.value.getParentFile / s"s3-${sparkRun.value}.classpath",
    (Compile / managedClasspath).value.map(_.data).mkString(":")
  )
)

/** Hadoop's own HDFS in one process, for `make test-hdfs`; its client is among Spark's jars. */
lazy val hdfs = (project in file("build/hdfs")).settings(
  libraryDependencies ++= Seq(
    "org.apache.hadoop" % "hadoop-client-minicluster" % hadoopFor(sparkRun.value),
    "junit" % "junit" % "4.13.2",
    "org.hamcrest" % "hamcrest-core" % "1.3",
    "org.mockito" % "mockito-core" % "2.28.2"
  ).map(_.intransitive()),
  autoScalaLibrary := false,
  TaskKey[Unit]("classPath", "writes build/hdfs-<Spark version>.classpath") := IO.write(
    baseDirectory.value.getParentFile / s"hdfs-${sparkRun.value}.classpath",
    (Compile / managedClasspath).value.map(_.data).mkString(":")
  )
)

/** What Hive's metastores on a database server take, for `make test-metastores`; nothing of it is in the jar. */
lazy val metastores = (project in file("build/metastores")).settings(
  libraryDependencies ++= (Seq(
    "org.postgresql" % "postgresql" % "42.7.14",
    "org.mariadb.jdbc" % "mariadb-java-client" % "2.7.13", // EMR's line
    "org.apache.hadoop" % "hadoop-hdfs" % hadoopFor("3.5")
  ) ++ Seq("hive-standalone-metastore" -> "3.1.3", "hive-standalone-metastore-server" -> "4.0.1").map {
    case (name, version) => "org.apache.hive" % name % version artifacts Artifact(name, "tar.gz", "tar.gz", "bin")
  }).map(_.intransitive()),
  classpathTypes += "tar.gz",
  autoScalaLibrary := false,
  TaskKey[Unit]("parts", "writes build/metastores.parts, a path a line") := IO.writeLines(
    baseDirectory.value.getParentFile / "metastores.parts",
    update.value.select(configurationFilter(Compile.name)).map(_.getPath)
  )
)

/** An S3 server that keeps objects as files, for `make test-faults`: exclusive creation is one link of the file system.
  */
lazy val s3proxy = (project in file("build/s3proxy")).settings(
  libraryDependencies += "org.gaul" % "s3proxy" % "4.1.0",
  autoScalaLibrary := false,
  TaskKey[Unit]("classPath", "writes build/s3proxy.classpath") := IO.write(
    baseDirectory.value.getParentFile / "s3proxy.classpath",
    (Compile / managedClasspath).value.map(_.data).mkString(":")
  )
)

/** A Trino with its Hive connector alone (450 MB), for `make test-readers`. */
lazy val trino = (project in file("build/trino")).settings(
  libraryDependencies ++= Seq("trino-server-core" -> "tar.gz", "trino-hive" -> "zip").map { case (name, kind) =>
    "io.trino" % name % "476" artifacts Artifact(name, kind, kind) intransitive ()
  },
  classpathTypes ++= Set("tar.gz", "zip"),
  autoScalaLibrary := false,
  TaskKey[Unit]("parts", "writes build/trino.parts, a path a line") := IO.writeLines(
    baseDirectory.value.getParentFile / "trino.parts",
    update.value.select(configurationFilter(Compile.name)).map(_.getPath)
  )
)
