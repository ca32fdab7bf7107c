"""The network against what is known of it and against its own formula, written down a second time."""

import pytest
import torch
from curate_classify.resnet import ResNet34
from torch.nn import functional


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = ResNet34().eval()
        for name, value in model.named_buffers():  # statistics as after training, so that they count
            if name.endswith("running_mean"):
                value.normal_(0, 0.3)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2)
    return model


def test_parameters_are_those_of_torchvision(model):
    state = model.state_dict()
    assert len(state) == 218
    assert sum(p.numel() for p in model.parameters()) == 21_797_672 - (512 * 1000 + 1000) + 512 + 1  # 1000 outputs there
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer1.2.bn2.running_var"] == (64,)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert shapes["layer2.0.downsample.1.num_batches_tracked"] == ()
    assert shapes["layer3.5.conv2.weight"] == (256, 256, 3, 3)
    assert shapes["layer4.2.conv1.weight"] == (512, 512, 3, 3)
    assert (shapes["fc.weight"], shapes["fc.bias"]) == ((1, 512), (1,))
    assert "layer1.0.downsample.0.weight" not in shapes


def network(state, x):
    """The 34-layer network of the paper, from parameters by their names alone."""

    def norm(x, name):
        return functional.batch_norm(x, *(state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))

    x = functional.relu(norm(functional.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1"))
    x = functional.max_pool2d(x, 3, 2, 1)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            y = functional.relu(norm(functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            y = norm(functional.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                x = norm(functional.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            x = functional.relu(x + y)
    return functional.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def test_the_network_computes_what_the_paper_says(model):
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(model(x), network(model.state_dict(), x), rtol=1e-4, atol=1e-4)
        assert model(x).shape == (2, 1)
