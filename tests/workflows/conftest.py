"""The API, and the lake that a single `telelake backfill` writes."""

import pytest

import school


@pytest.fixture(scope="session")
def api():
    """The variables that reach the simulated API."""
    with school.simulator() as variables:
        yield variables


@pytest.fixture(scope="session")
def reference(api, tmp_path_factory):
    """The lake of one process over all dates and spaces."""
    lake = tmp_path_factory.mktemp("reference")
    env = school.environment(**api, TELELAKE_STORE__URL=lake.as_uri())
    school.telelake(env, "backfill", "--from", str(school.FIRST), "--to", str(school.LAST))
    assert len(school.manifests(lake)) == school.DATES * school.SPACES
    return lake
