"""A sweep of Keras models on TensorFlow, through Keras' own scikit-learn wrapper."""

import pytest
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitcast import Client, Sweep

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(600)]


def network():
    """Return a small network as a scikit-learn estimator."""
    from keras.wrappers import SKLearnClassifier

    # Nested on purpose: what is defined here is sent with the sweep, so that workers need not
    # have this file. The wrapper calls it with the data of the fit and `model_kwargs`.
    def dense(X, y, units=8):
        import keras

        keras.utils.set_random_seed(0)
        inputs = keras.layers.Input(X.shape[1:])
        hidden = keras.layers.Dense(units, activation="relu")(inputs)
        outputs = keras.layers.Dense(y.shape[1], activation="softmax")(hidden)
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.Adam(0.02), loss="categorical_crossentropy")
        return model

    return SKLearnClassifier(dense, fit_kwargs={"epochs": 30, "verbose": 0})


def test_a_sweep_of_keras_models_succeeds(no_process_left):
    pytest.importorskip("tensorflow", reason="make test-tensorflow installs it")
    X, y = make_classification(400, 10, n_informative=5, class_sep=2.0, random_state=0)
    sweep = Sweep(
        {
            "network": (network(), {"model_kwargs": [{"units": 4}, {"units": 16}]}),
            "scaled": make_pipeline(StandardScaler(), network()),
        },
        X.astype("float32"),
        y,
        cv=2,
        scoring="accuracy",
    )
    with Client() as client:
        workflow = client.submit(sweep)
        result = workflow.result()
        told = workflow.logs()
    assert (workflow.fits["outcome"] == "succeeded").all(), told
    assert len(result.leaderboard) == 3
    assert (result.leaderboard["mean_score"] > 0.7).all()
    # real networks were trained: TensorFlow takes memory that scikit-learn doesn't
    assert (workflow.fits["peak_memory_bytes"] > 200 * 2**20).all()
    assert result.best_estimator_.predict(X[:5].astype("float32")).shape == (5,)
