"""Images: the data sets' files, the transforms beside torchvision's numbers, and pictures of batches."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import pickle
import random
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest

import minitorch
from minitorch.utils.files import LoadError
from minitorch.vision import datasets
from minitorch.vision import transforms as T
from minitorch.vision.utils import make_grid, save_image

Image = pytest.importorskip("PIL.Image", reason="images need Pillow: pip install minitorch[vision]")

# What torchvision 0.28 with PyTorch 2.13 and Pillow 13 gives: the shape, and `digest` of three draws from seed 5, of a
# Pillow image and of the tensor of floats. None: torchvision refuses that kind.
TORCHVISION = [
    ("T.RandomCrop(20)", (20, 20, 3), -60.26356, 0.7691933),
    ("T.RandomCrop(24, padding=4)", (24, 24, 3), 1.553423, -0.01249916),
    ("T.RandomCrop((20, 30), padding=(1, 2), fill=9)", (20, 30, 3), 57.04972, 1.910994),
    ("T.RandomCrop(28, padding=3, padding_mode='reflect')", (28, 28, 3), 63.59497, 0.2339863),
    ("T.RandomCrop(28, padding=[1, 2, 3, 4], padding_mode='edge')", (28, 28, 3), 114.1714, -0.1022942),
    ("T.RandomCrop(30, padding=3, padding_mode='symmetric')", (30, 30, 3), 39.06227, -0.5778904),
    ("T.RandomCrop(40, pad_if_needed=True)", (40, 40, 3), -29.32861, -0.04146263),
    ("T.RandomHorizontalFlip()", (24, 31, 3), 18.63414, -0.2700003),
    ("T.RandomVerticalFlip()", (24, 31, 3), -4.874512, 0.2178974),
    ("T.RandomVerticalFlip(p=0.9)", (24, 31, 3), -47.57612, 0.4355472),
    ("T.Resize(15)", (15, 19, 3), 77.27618, 1.20328),
    ("T.Resize((40, 50))", (40, 50, 3), 10.39193, -0.7602192),
    ("T.Resize(40, max_size=45)", (35, 45, 3), -1.578979, -0.397451),
    ("T.Resize((12, 40), T.InterpolationMode.BICUBIC)", (12, 40, 3), 57.81692, 0.4780365),
    ("T.Resize((12, 40), T.InterpolationMode.NEAREST)", (12, 40, 3), 46.67317, 1.031303),
    ("T.Resize((50, 60), T.InterpolationMode.BICUBIC)", (50, 60, 3), 12.61603, 0.06996271),
    ("T.CenterCrop(18)", (18, 18, 3), 50.43632, -0.02810062),
    ("T.CenterCrop((30, 11))", (30, 11, 3), 111.782, -0.1070083),
    ("T.CenterCrop(40)", (40, 40, 3), 6.77241, 0.2668138),
    ("T.Pad(2)", (28, 35, 3), -118.6324, 0.3678192),
    ("T.Pad((1, 2, 3, 4), fill=7)", (30, 35, 3), 119.3502, 0.9892475),
    ("T.Pad((1, 2), padding_mode='reflect')", (28, 33, 3), 115.5531, -0.5190362),
    ("T.Pad(-2, padding_mode='edge')", (20, 27, 3), 22.56568, -0.4441474),
    ("T.RandomResizedCrop(16)", (16, 16, 3), 61.89502, 0.04840022),
    ("T.RandomResizedCrop((16, 20), scale=(0.3, 0.9), ratio=(0.9, 1.2))", (16, 20, 3), -32.20539, -0.5671018),
    ("T.RandomResizedCrop(16, ratio=(9, 10), scale=(2,3))", (16, 16, 3), 42.92126, 0.1200246),
    ("T.RandomRotation(30)", (24, 31, 3), -83.15237, 1.282584),
    ("T.RandomRotation((10, 80), expand=True, fill=5)", (38, 33, 3), 4.182831, -0.922381),
    (
        "T.RandomRotation(40, center=(3, 4), interpolation=T.InterpolationMode.BILINEAR)",
        (24, 31, 3),
        0.5845378,
        0.9466482,
    ),
    ("T.Grayscale()", (24, 31), 9.67506, 0.03951499),
    ("T.Grayscale(3)", (24, 31, 3), 155.4595, 0.04825252),
    ("T.RandomGrayscale(0.7)", (24, 31, 3), 105.5056, -0.1288506),
    ("T.ColorJitter(0.4, 0.3, 0.2, 0.1)", (24, 31, 3), 74.9267, -0.133922),
    ("T.ColorJitter(brightness=(0.5, 1.5))", (24, 31, 3), 83.20146, -0.2202352),
    ("T.ColorJitter(contrast=0.9)", (24, 31, 3), 81.57802, -0.2775177),
    ("T.ColorJitter(saturation=0.9)", (24, 31, 3), 51.65915, -0.2620079),
    ("T.ColorJitter(hue=0.4)", (24, 31, 3), 106.5587, 0.3276904),
    ("T.RandomApply([T.Pad(1), T.RandomHorizontalFlip()], p=0.6)", (24, 31, 3), 101.9068, -0.3185254),
    ("T.RandomChoice([T.Pad(1), T.Pad(2)], p=[1, 2])", (28, 35, 3), -118.6324, 0.3678192),
    ("T.RandomOrder([T.Pad(1), T.CenterCrop(10)])", (12, 12, 3), 21.41253, -0.152465),
    (
        "T.Compose([T.RandomCrop(24, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize([0.5] * 3, [0.2] * 3)])",
        (3, 24, 24),
        -4.219704,
        None,
    ),
    ("T.Compose([T.ToTensor(), T.RandomErasing()])", (3, 24, 31), -0.3324465, None),
    ("T.Compose([T.ToTensor(), T.RandomErasing(0.8, value='random')])", (3, 24, 31), -3.724765, None),
    ("T.Compose([T.ToTensor(), T.RandomErasing(1, value=(1, 2, 3))])", (3, 24, 31), -0.03456676, None),
    ("T.Compose([T.FiveCrop(10), T.Lambda(lambda crops: crops[3])])", (10, 10, 3), -225.0082, 0.6631276),
    ("T.Compose([T.TenCrop((10, 9)), T.Lambda(lambda crops: crops[7])])", (10, 9, 3), -104.7868, -0.714337),
    ("T.PILToTensor()", (3, 24, 31), -55.43756, None),
    ("T.Compose([T.ToTensor(), T.ToPILImage(), T.ToTensor()])", (3, 24, 31), -0.2174021, None),
    ("T.Compose([T.PILToTensor(), T.ConvertImageDtype(torch.float64)])", (3, 24, 31), -0.2174022, None),
]


def picture():
    y, x = np.mgrid[:24, :31]
    planes = [(x * 7 + y * 3) % 256, (x * y + 40) % 256, (200 - x * 5 + y * 2) % 256]
    return np.stack(planes, -1).astype(np.uint8)


def as_tensor(array):
    return minitorch.from_numpy(array).permute(2, 0, 1).float() / 255


def digest(images):
    """One number that a wrong pixel, place or order changes."""
    flat = [np.asarray(image, np.float64).ravel() for image in images]
    return sum((k + 1) * float(y @ np.cos(np.arange(y.size))) / y.size**0.5 for k, y in enumerate(flat))


def three_draws(transform, image):
    minitorch.manual_seed(5)
    random.seed(5)
    draws = [transform(image) for _ in range(3)]
    return [d.numpy() if isinstance(d, minitorch.Tensor) else np.asarray(d) for d in draws]


@pytest.mark.parametrize("spec, shape, of_image, of_tensor", TORCHVISION, ids=[row[0] for row in TORCHVISION])
def test_transforms_give_torchvisions_numbers(spec, shape, of_image, of_tensor):
    transform = eval(spec, {"T": T, "torch": minitorch})
    for image, expected in ((Image.fromarray(picture()), of_image), (as_tensor(picture()), of_tensor)):
        if expected is None:
            with pytest.raises((TypeError, ValueError, RuntimeError)):
                three_draws(transform, image)
            continue
        arrays = three_draws(transform, image)
        assert digest(arrays) == pytest.approx(expected, rel=1e-3, abs=1e-3)
        if expected is of_image:
            assert arrays[-1].shape == shape


def test_transforms_print_as_torchvisions():
    both = T.Compose([T.RandomCrop(32, padding=4), T.RandomApply([T.Pad(1)], p=0.3), T.ToTensor()])
    assert repr(both) == (
        "Compose(\n    RandomCrop(size=(32, 32), padding=4)\n    RandomApply(\n    p=0.3\n"
        "    Pad(padding=1, fill=0, padding_mode=constant)\n)\n    ToTensor()\n)"
    )
    assert repr(T.Resize(8)) == "Resize(size=8, interpolation=bilinear, max_size=None, antialias=True)"
    assert repr(T.Normalize((0.5,), (0.25,))) == "Normalize(mean=(0.5,), std=(0.25,))"
    assert repr(T.ColorJitter(0.5)) == "ColorJitter(brightness=(0.5, 1.5), contrast=None, saturation=None, hue=None)"


def test_bytes_are_resized_and_turned_as_floats_are():
    data = minitorch.from_numpy(picture()).permute(2, 0, 1)
    for transform in (T.Resize((15, 40)), T.Resize((40, 20), T.InterpolationMode.BICUBIC), T.RandomRotation(30)):
        minitorch.manual_seed(0)
        ours = transform(data)
        minitorch.manual_seed(0)
        floats = transform(data.float())
        assert ours.dtype is minitorch.uint8
        np.testing.assert_array_equal(ours.numpy(), floats.round().clamp(0, 255).numpy())
    np.testing.assert_array_equal(T.Resize((15, 40))(data[0]).numpy(), T.Resize((15, 40))(data).numpy()[0])


def test_gradients_go_through_transforms_of_tensors():
    x = minitorch.rand(3, 4, 5, dtype=minitorch.float64, requires_grad=True)
    for transform in (T.Resize(3), T.RandomRotation(20, T.InterpolationMode.BILINEAR), T.Normalize([0.5] * 3, [0.2] * 3),
                      T.Pad(1, padding_mode="reflect"), T.ColorJitter(saturation=(0.5, 0.5))):  # fmt: skip

        def seeded(x, transform=transform):
            minitorch.manual_seed(0)
            return transform(x)

        assert minitorch.autograd.gradcheck(seeded, (x,))


@pytest.mark.parametrize(
    "spec, image, error, message",
    [
        ("T.ToTensor()", "text", TypeError, "pic should be PIL Image or ndarray"),
        ("T.ToTensor()", np.zeros((2, 2, 2, 2)), ValueError, "2/3 dimensional. Got 4"),
        ("T.Normalize(0.5, 0.5)", Image.new("L", (3, 3)), TypeError, "img should be Tensor Image"),
        ("T.Normalize([0.5], [0.0])", minitorch.zeros(1, 2, 2), ValueError, "division by zero"),
        ("T.Normalize([0.5], [1.0])", minitorch.zeros(1, 2, 2).long(), TypeError, "should be a float tensor"),
        ("T.Normalize([0.5] * 3, [1.0] * 3)", minitorch.zeros(1, 2, 2), RuntimeError, "3 means and 3 deviations"),
        (
            "T.RandomCrop(5)",
            minitorch.zeros(1, 4, 6),
            ValueError,
            "crop size .5, 5. is larger than input image size .4, 6",
        ),
        ("T.Resize(4)", np.zeros((8, 8)), TypeError, "a PIL Image or a tensor .* got ndarray; ToTensor"),
        ("T.Resize(4, T.InterpolationMode.LANCZOS)", minitorch.zeros(1, 8, 8), ValueError, "lanczos"),
        ("T.Pad(3, padding_mode='reflect')", minitorch.zeros(1, 3, 9), RuntimeError, "at most 2 of 3 rows"),
        ("T.RandomErasing(1)", Image.new("L", (3, 3)), TypeError, "put RandomErasing behind ToTensor"),
        ("T.ColorJitter(hue=0.6)", None, ValueError, "hue values should be between"),
        ("T.Pad((1, 2, 3))", None, ValueError, "not a 3 element tuple"),
        ("T.RandomCrop((1, 2, 3))", None, ValueError, "only two dimensions"),
        ("T.GaussianBlur(3)", None, AttributeError, "minitorch.vision.transforms has no 'GaussianBlur'"),
    ],
)
def test_transforms_refuse(spec, image, error, message):
    with pytest.raises(error, match=message):
        eval(spec, {"T": T})(image)


def test_images_and_tensors_there_and_back():
    for channels, mode in ((1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")):
        x = minitorch.randint(0, 256, (channels, 5, 7), dtype=minitorch.uint8)
        image = T.ToPILImage()(x)
        assert image.mode == mode and image.size == (7, 5)
        np.testing.assert_array_equal(T.PILToTensor()(image).numpy(), x.numpy())
        np.testing.assert_allclose(T.ToTensor()(image).numpy(), x.numpy() / np.float32(255), rtol=1e-6)
    for dtype, mode in ((minitorch.int16, "I;16"), (minitorch.int32, "I")):
        x = minitorch.randint(0, 3000, (1, 5, 7), dtype=dtype)
        image = T.ToPILImage()(x)
        assert image.mode == mode
        np.testing.assert_array_equal(T.ToTensor()(image).numpy(), x.numpy())
    x = minitorch.rand(1, 5, 7)
    np.testing.assert_array_equal(T.ToTensor()(T.ToPILImage("F")(x)).numpy(), x.numpy())
    assert T.ToTensor()(Image.new("1", (2, 2), 1)).tolist() == [[[1.0, 1.0], [1.0, 1.0]]]
    np.testing.assert_array_equal(T.ToTensor()(np.eye(3)).numpy(), np.eye(3)[None])


def test_no_pillow_no_images():
    """The tensors are there without Pillow; an image says what to install."""
    code = """
import sys
sys.modules["PIL"] = None
import numpy as np
from minitorch.vision import datasets, transforms as T
print(T.Compose([T.ToTensor(), T.Resize(4), T.RandomHorizontalFlip()])(np.zeros((8, 8, 3), np.uint8)).shape)
for make in (lambda: T.ToPILImage()(np.zeros((2, 2))), lambda: datasets.VisionDataset()._sample(np.zeros((2, 2)), 0)):
    try:
        make()
    except ImportError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "[3, 4, 4]" in result.stdout and result.stdout.count("pip install 'minitorch[vision]'") == 2


# --- data sets -------------------------------------------------------------------------------------------------------


def idx(array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


IMAGES = np.arange(7 * 28 * 28).reshape(7, 28, 28) % 251
LABELS = np.array([3, 1, 4, 1, 5, 9, 2])
MNIST_FILES = {
    "train-images-idx3-ubyte": idx(IMAGES),
    "train-labels-idx1-ubyte": idx(LABELS),
    "t10k-images-idx3-ubyte": idx(IMAGES[:2]),
    "t10k-labels-idx1-ubyte": idx(LABELS[:2]),
}


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("MINITORCH_DATA", raising=False)


def write(folder, files, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path, packed):
    write(tmp_path / "MNIST" / "raw", MNIST_FILES, packed)
    digits = datasets.MNIST(tmp_path, transform=T.ToTensor(), target_transform=lambda target: target + 10)
    assert digits.data.dtype is minitorch.uint8 and digits.targets.dtype is minitorch.int64
    np.testing.assert_array_equal(digits.data.numpy(), IMAGES)
    x, target = digits[5]
    assert (tuple(x.shape), target) == ((1, 28, 28), 19) and len(digits) == 7
    np.testing.assert_allclose(x.numpy()[0], IMAGES[5] / 255, rtol=1e-6)
    test = datasets.MNIST(str(tmp_path), train=False)
    image, target = test[1]
    assert (image.mode, image.size, target, type(target)) == ("L", (28, 28), 1, int)
    assert test.classes[9] == "9 - nine" and test.class_to_idx["3 - three"] == 3
    assert repr(test) == f"Dataset MNIST\n    Number of datapoints: 2\n    Root location: {tmp_path}\n    Split: Test"
    assert repr(digits).splitlines()[4:6] == ["    StandardTransform", "Transform: ToTensor()"]
    loader = minitorch.utils.data.DataLoader(digits, batch_size=4, num_workers=2 * (not packed))
    assert [tuple(x.shape) for x, _ in loader] == [(4, 1, 28, 28), (3, 1, 28, 28)]


def test_data_folder_of_the_environment(tmp_path, monkeypatch):
    write(tmp_path / "data" / "fashion_mnist", MNIST_FILES, packed=True)
    monkeypatch.setenv("MINITORCH_DATA", str(tmp_path / "data"))
    clothes = datasets.FashionMNIST(tmp_path / "nothing", download=True)  # and nothing is downloaded
    assert len(clothes) == 7 and clothes.classes[int(clothes.targets[0])] == "Dress"
    with pytest.raises(RuntimeError, match="Dataset not found. You can use download=True to download it"):
        datasets.MNIST(tmp_path / "nothing")


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("train-images-idx3-ubyte", b"", "at byte 0: expected the idx header 00000803 .* got nothing"),
        ("train-images-idx3-ubyte", idx(LABELS), "at byte 0: expected the idx header 00000803 .* got 00000801"),
        ("train-images-idx3-ubyte", idx(IMAGES)[:10], "at byte 10: truncated in the header"),
        ("train-images-idx3-ubyte", idx(IMAGES)[:-9], r"at byte 5,495: truncated: .* takes 5,488 bytes, 5,479 follow"),
        ("train-images-idx3-ubyte", idx(IMAGES) + b"x", "at byte 5,504: more bytes follow"),
        ("train-images-idx3-ubyte", bytes([0, 0, 8, 3]) + b"\xff" * 12, "at byte 16: truncated"),
        ("train-labels-idx1-ubyte", idx(LABELS[:-1]), "7 images and 6 labels"),
        ("train-labels-idx1-ubyte", idx(LABELS + 3), "at byte 13: label 12 is not one of 10 classes"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_mnist(tmp_path, name, data, message, packed):
    write(tmp_path / "MNIST" / "raw", {**MNIST_FILES, name: data}, packed)
    with pytest.raises(LoadError, match=message) as error:
        datasets.MNIST(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_damaged_gzip(tmp_path):
    folder = write(tmp_path / "MNIST" / "raw", MNIST_FILES, packed=True)
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for data in (whole[:-20], b"not gzip", whole[:40] + b"\xff" * 40 + whole[80:]):
        path.write_bytes(data)
        with pytest.raises(LoadError, match="train-images-idx3-ubyte.gz"):
            datasets.MNIST(tmp_path)


@contextlib.contextmanager
def served(folder):
    """The folder behind a local address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_mnist_is_downloaded(tmp_path, monkeypatch):
    folder = write(tmp_path / "site", MNIST_FILES, packed=True)
    sums = [(f"{name}.gz", hashlib.md5((folder / f"{name}.gz").read_bytes()).hexdigest()) for name in MNIST_FILES]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    with served(folder) as address:
        monkeypatch.setattr(datasets.MNIST, "mirrors", [address + "nowhere/", address])  # the second has it
        assert len(datasets.MNIST(tmp_path / "root", download=True)) == 7
        raw = tmp_path / "root" / "MNIST" / "raw"
        assert {f.name for f in raw.iterdir()} == {n + end for n in MNIST_FILES for end in ("", ".gz")}
        assert (raw / "train-images-idx3-ubyte").read_bytes() == idx(IMAGES)

        monkeypatch.setattr(datasets.MNIST, "resources", [(name, "0" * 32) for name, _ in sums])
        with pytest.raises(
            RuntimeError, match="(?s)Error downloading train-images.*404.*checksum of what came is"
        ) as error:
            datasets.MNIST(tmp_path / "other", download=True)
        assert address in str(error.value) and not list((tmp_path / "other" / "MNIST" / "raw").iterdir())
    assert len(datasets.MNIST(tmp_path / "root", download=True)) == 7  # there already: nothing is asked for


def records(labels, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    return images, b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images))


def cifar_files(monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "batch", 2)
    return {name: records([i, 9 - i], i)[1] for i, name in enumerate(["test_batch.bin", *datasets.CIFAR10.train_list])}


def test_cifar10(tmp_path, monkeypatch):
    write(tmp_path / "cifar-10-batches-bin", cifar_files(monkeypatch))
    train = datasets.CIFAR10(tmp_path, transform=T.ToTensor())
    assert train.data.shape == (10, 32, 32, 3) and train.targets == [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]
    np.testing.assert_allclose(train[2][0].numpy(), records([2, 7], 2)[0][0] / 255, rtol=1e-6)
    test = datasets.CIFAR10(tmp_path, train=False)
    image, target = test[1]
    assert (image.mode, image.size, test.classes[target]) == ("RGB", (32, 32), "truck")
    assert test.class_to_idx["cat"] == 3 and "Split: Test" in repr(test)


def test_cifar10_is_downloaded(tmp_path, monkeypatch):
    files = cifar_files(monkeypatch)
    archive = tmp_path / "site" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in {**files, "../../evil": b"never unpacked"}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    with served(archive.parent) as address:
        monkeypatch.setattr(datasets.CIFAR10, "url", address + archive.name)
        assert len(datasets.CIFAR10(tmp_path / "root", download=True)) == 10
    assert len(datasets.CIFAR10(tmp_path / "root", train=False, download=True)) == 2  # nothing is asked for
    assert not list(tmp_path.rglob("evil"))


def test_cifar10_of_which_only_the_beginning_is_there(tmp_path, monkeypatch):
    write(tmp_path / "cifar10_4k", {"cifar10_first4000_lossless.bin": records([6, 9, 9])[1]})
    monkeypatch.setenv("MINITORCH_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match="only the first 3 training images"):
        assert datasets.CIFAR10(tmp_path / "root", download=True).targets == [6, 9, 9]
    with pytest.raises(RuntimeError, match="Dataset not found or corrupted. You can use download=True"):
        datasets.CIFAR10(tmp_path / "root", train=False)


def test_damaged_cifar10(tmp_path, monkeypatch):
    files = cifar_files(monkeypatch)
    folder = write(tmp_path / "cifar-10-batches-bin", files)
    name = "data_batch_2.bin"
    for data, message in (
        (files[name][:-1], "at byte 3,073: truncated or altered: 6,145 bytes are not 2 records of 3,073"),
        (files[name] * 2, "are not 2 records"),
        (files[name][:3073] + b"\x0c" + files[name][3074:], "at byte 3,073: label 12 is not one of 10 classes"),
    ):
        (folder / name).write_bytes(data)
        with pytest.raises(LoadError, match=message):
            datasets.CIFAR10(tmp_path)
    # torchvision's own files are pickles: named, not read
    write(tmp_path / "t" / "cifar-10-batches-py", {"data_batch_1": pickle.dumps({"data": 1})})
    with pytest.raises(
        RuntimeError, match="download=True to download it. .*holds pickles, which minitorch does not read"
    ):
        datasets.CIFAR10(tmp_path / "t")


def test_fake_data():
    """torchvision's numbers: the noise of seed 7, as bytes, and its label."""
    noise = datasets.FakeData(10, (3, 4, 5), 10, transform=T.PILToTensor())
    minitorch.manual_seed(3)
    before = minitorch.get_rng_state()
    image, target = noise[7]
    assert image.shape == (3, 4, 5) and minitorch.equal(before, minitorch.get_rng_state())
    assert (image.sum().item(), image[0, 0].tolist(), target) == (7986, [47, 100, 229, 158, 214], 5)
    with pytest.raises(IndexError, match="FakeData index out of range"):
        noise[10]


def test_missing_data_sets():
    with pytest.raises(AttributeError, match="minitorch.vision.datasets has no 'SVHN'"):
        datasets.SVHN  # noqa: B018


# --- pictures of batches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, of_one_channel, of_two",
    [
        ({}, 141.969, -1346.284),
        ({"nrow": 3, "padding": 1}, 439.724, 364.469),
        ({"normalize": True, "value_range": (10, 50)}, 1.902, -17.029),
        ({"normalize": True, "scale_each": True, "pad_value": 0.5}, 0.629, -2.525),
    ],
)
def test_make_grid_gives_torchvisions_numbers(options, of_one_channel, of_two):
    x = minitorch.arange(5 * 2 * 3 * 4).reshape(5, 2, 3, 4).float()
    for images, expected in ((x[:, :1], of_one_channel), (x, of_two), (list(x), of_two)):
        grid = make_grid(images, **options).numpy()
        assert (grid.ravel() * np.cos(np.arange(grid.size))).sum() == pytest.approx(expected, abs=2e-3)
    assert make_grid(x[0, 0]).shape == (3, 3, 4) and make_grid(x[0]).shape == (2, 3, 4)
    with pytest.raises(TypeError, match="tensor or list of tensors expected, got int"):
        make_grid(3)


def test_save_image(tmp_path):
    x = minitorch.rand(5, 1, 6, 7)
    save_image(x, tmp_path / "grid.png", nrow=2, padding=1)
    image = Image.open(tmp_path / "grid.png")
    assert image.size == (17, 22)
    np.testing.assert_array_equal(np.asarray(image)[1:7, 1:8, 0], np.floor(x[0, 0].numpy() * 255 + 0.5))
