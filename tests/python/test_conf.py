"""What an operator copies from conf/ is valid, complete, and names the jars of this version."""

import json
from pathlib import Path

import pytest
import sfbatch
from sfbatch.spark import CATALOG, EXTENSION

CONF = Path(__file__).parents[2] / "conf"


def properties(name):
    return {part["Classification"]: part["Properties"] for part in json.loads((CONF / "emr" / name).read_text())}


@pytest.mark.parametrize(
    ("release", "jar"), [("emr7", "sfbatch-spark-3.5_2.12"), ("emr-spark8", "sfbatch-spark-4_2.13")]
)
@pytest.mark.parametrize("cluster", ["dev", "prod"])
def test_each_cluster_loads_the_jar_of_its_spark_and_names_its_metastore(cluster, release, jar):
    found = properties(f"{cluster}-{release}.json")
    spark = found["spark-defaults"]
    assert spark["spark.jars"].endswith(f"/{jar}-{sfbatch.__version__}.jar")
    assert (spark["spark.sql.extensions"], spark["spark.sql.catalog.spark_catalog"]) == (EXTENSION, CATALOG)
    assert found["spark-hive-site"]["hive.metastore.uris"] == f"thrift://METASTORE-{cluster.upper()}:9083"
    assert found["yarn-site"]["yarn.log-aggregation-enable"] == "true"


def test_every_property_is_text_as_emr_wants_it():
    for path in (CONF / "emr").glob("*.json"):
        for part in json.loads(path.read_text()):
            assert set(part) <= {"Classification", "Properties", "Configurations"}
            assert all(isinstance(value, str) for value in part["Properties"].values()), path


def test_the_laptop_defaults_set_what_configure_spark_sets(monkeypatch):
    monkeypatch.setenv("SPARK_CONF_DIR", str(CONF))
    from sfbatch.spark import _defaults_file

    found = _defaults_file()
    assert (found["spark.sql.extensions"], found["spark.sql.catalog.spark_catalog"]) == (EXTENSION, CATALOG)
