"""Where the data and the key of a sweep can be seen: nowhere but in the workers' memory."""

import base64
import io
import logging
import os

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from fitcast import Client, LocalBackend, MlflowHistory, Pool, Sweep
from fitcast.history.locked_folders import memory_root
from tests.fault import harm
from tests.fault.estimators import Lingers
from tests.leases import leases_of
from tests.listing import files_matching
from tests.polling import LONGEST_S
from tests.security.sinks import files_below, processes, seen

pytestmark = pytest.mark.security

MIB = 2**20
RNG = np.random.default_rng()
NUMBER = np.float64(RNG.random())
TEXT = f"canary-{RNG.integers(2**62):x}"


def test_data_and_key_are_in_no_file_log_environment_or_record(tmp_path, no_process_left):
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    frame = pd.DataFrame({"a": np.append(RNG.random(79), NUMBER), "b": [TEXT, "other"] * 40})
    y = np.arange(80) // 2 % 2
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["b"]), remainder="passthrough"),
        Lingers(gate=str(tmp_path / "gate")),
    )
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    watched = (tmp_path, memory_root())
    backend = LocalBackend([Pool("two", cpus=1, memory_bytes=450 * MIB, workers=2)])
    try:
        with Client(backend, home=tmp_path / "home", history=MlflowHistory(store)) as client:
            grid = {"lingers__deed": ["", "no such deed"]}
            workflow = client.submit(Sweep({"m": (model, grid)}, frame, y, cv=2))
            assert harm.until(lambda: len(harm.victims(client)["fit"]) == 2)
            lease = client._platform.engine._keys.path
            assert lease in leases_of(os.getpid())
            (key_file,) = files_matching(lease, "*.key")
            key = key_file.read_bytes()
            keys = (key, key.hex().encode(), base64.b64encode(key))
            data = (NUMBER.tobytes(), repr(float(NUMBER)).encode(), TEXT.encode())
            during = files_below(*watched)
            own = str(tmp_path / "home" / "workflows" / workflow.id / "key")
            assert sorted(seen(during, *keys)) == sorted([str(key_file), own])
            assert not seen(during, *data)
            assert not seen(processes(), *keys, *data)
            (tmp_path / "gate").touch()
            result = workflow.result(LONGEST_S)
            assert len(result.errors) == 2
            assert client.flush(LONGEST_S)
        after = files_below(*watched)
        assert str(tmp_path / "mlflow.db") in after
        assert seen(after, *keys) == [own]
        assert not seen(after, *data)
        assert not seen({"log": said.getvalue().encode()}, *keys, *data)
    finally:
        logging.getLogger().removeHandler(handler)
