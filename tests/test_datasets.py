"""Public data: what the loaders find in the real files, and what they say about files that are not as they should be."""

import collections
import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import operator
import os
import subprocess
import sys
import tarfile
import threading
import zipfile

import numpy as np
import pytest

from minitorch import datasets
from minitorch.datasets import archives, labelled, sources
from minitorch.datasets.labelled import TextClassification
from minitorch.utils.files import LoadError

REAL = os.environ.get("MINITORCH_DATA")
real = pytest.mark.skipif(not REAL, reason="MINITORCH_DATA is not set: it names the folder with the public data")
load = functools.cache(lambda name, split: getattr(datasets, name)(split))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test writes into the user's cache."""
    monkeypatch.setenv("MINITORCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(folder, **files):
    """Files by name, `__` for a dot; text or bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


# --- the real files --------------------------------------------------------------------------------------------------

SIZES = {  # examples of each split, and of each class over all of them
    "sst2": ({"train": 6920, "validation": 872}, [3738, 4054]),
    "rt_polarity": ({"train": 8492, "validation": 1122, "test": 1048}, [5331, 5331]),
    "imdb": ({"train": 22503, "validation": 2493}, [12498, 12498]),
    "financial_phrasebank": ({"train": 3895, "validation": 482, "test": 469}, [604, 2879, 1363]),
    "chnsenticorp_htl": ({"train": 6222, "validation": 783, "test": 761}, [2444, 5322]),
    "thucnews_titles": ({"validation": 10000, "test": 10000}, [2000] * 10),
    "banking77": ({"train": 8954, "validation": 1049}, [
        153, 139, 112, 167, 166, 143, 126, 112, 127, 112, 118, 82, 110, 115, 35, 111, 149, 157, 97, 180, 187,
        171, 129, 98, 59, 146, 181, 168, 121, 121, 102, 106, 135, 103, 121, 86, 87, 182, 105, 173, 159, 121,
        169, 133, 162, 153, 148, 108, 61, 175, 113, 128, 161, 122, 156, 172, 95, 137, 113, 126, 129, 114, 120,
        41, 163, 97, 145, 171, 160, 121, 114, 159, 177, 129, 126, 104, 129,
    ]),
    "mnist": (
        {"train": 54076, "validation": 5924, "test": 10000},
        [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958],
    ),
    "fashion_mnist": ({"train": 54089, "validation": 5911, "test": 10000}, [7000] * 10),
    "cifar10_4k": (
        {"train": 3193, "validation": 415, "test": 392},
        [396, 366, 420, 384, 422, 393, 414, 385, 407, 413],
    ),
    "conll2003": ({"train": 14041, "validation": 3250}, None),
    "wnut17": ({"train": 3394, "validation": 1009}, None),
    "multi30k": ({"train": 29000, "validation": 1014}, None),
}  # fmt: skip


@real
@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    sizes, classes = SIZES[name]
    if name in ("mnist", "fashion_mnist"):  # cutting takes a while: once is enough
        data = load(name, "train+validation+test")
        assert len(data) == 70_000
        assert name != "mnist" or len(load(name, "validation")) == sizes["validation"]
    else:
        parts = [load(name, split) for split in sizes]
        assert [len(part) for part in parts] == list(sizes.values())
        data = functools.reduce(operator.add, parts)
    if classes:
        assert np.bincount(data.labels).tolist() == classes and len(data.classes) == len(classes)


@real
@pytest.mark.parametrize("name", ["banking77", "financial_phrasebank", "chnsenticorp_htl", "rt_polarity", "imdb"])
def test_duplicates_are_on_one_side(name):
    sides = [set(load(name, split).keys()) for split in SIZES[name][0]]
    assert len(set.union(*sides)) == sum(map(len, sides))


@real
def test_joined_splits_are_in_the_order_of_the_file():
    data, name = load("banking77", "train+validation"), "banking77"
    assert sorted(data.texts) == sorted(load(name, "train").texts + load(name, "validation").texts)
    assert data.texts[0] == "I am still waiting on my card?" and data.classes[data.labels[0]] == "card_arrival"


@real
def test_texts():
    assert load("sst2", "validation").texts[0] == "one long string of cliches"
    assert load("sst2", "validation").labels[:2] == [0, 0]
    imdb = load("imdb", "train").texts + load("imdb", "validation").texts
    assert len(imdb) - len(set(imdb)) == 96 and "<br />" in imdb[3]
    banking = load("banking77", "train+validation")
    assert len(banking.classes) == len(set(banking.labels)) == 77
    assert sum("\n" in text for text in banking.texts) == 10
    finance = load("financial_phrasebank", "train+validation+test")
    assert (
        finance.texts[0].startswith("According to Gran , the company")
        and finance.classes[finance.labels[0]] == "neutral"
    )
    assert load("rt_polarity", "train+validation+test").texts[0] == "simplistic , silly and tedious ."
    assert load("chnsenticorp_htl", "train+validation+test").texts.count("") == 1
    titles = load("thucnews_titles", "validation")
    assert titles.classes[titles.labels[0]] == "game" and "2岁男童" in titles.texts[5]


@real
def test_tags():
    conll = load("conll2003", "train") + load("conll2003", "validation")
    assert conll.sentences[0][:3] == ["EU", "rejects", "German"] and conll.tags[0][:3] == ["B-ORG", "O", "B-MISC"]
    assert conll.classes[:3] == ["O", "B-LOC", "B-MISC"] and len(conll.classes) == 9 and conll.documents == []
    counts = collections.Counter(tag for sentence in conll.tags for tag in sentence)
    assert counts["B-PER"] == 6600 + 1842 and counts["I-LOC"] == 1157 + 257
    assert sum(counts.values()) == 203621 + 51362 == sum(map(len, conll.sentences))
    wnut = load("wnut17", "validation")
    counts = collections.Counter(tag for sentence in wnut.tags for tag in sentence)
    assert len(wnut.classes) == 13 and counts["B-creative-work"] == 105 and sum(counts.values()) == 15733


@real
def test_other_data():
    captions = load("multi30k", "validation")
    assert captions.source[0].startswith("Eine Gruppe von Männern") and captions.target[0].startswith("A group of men")
    assert datasets.multi30k("validation", source="en", target="de").source == captions.target
    for name, shape in (("mnist", (1, 28, 28)), ("fashion_mnist", (1, 28, 28)), ("cifar10_4k", (3, 32, 32))):
        images = load(name, "test" if name == "fashion_mnist" else "validation")
        assert images.images.shape == (len(images), *shape) and images.images.dtype == np.uint8
        assert images.labels.dtype == np.int64 and set(images.labels) == set(range(10)) and len(images.classes) == 10
    text = datasets.tinyshakespeare()
    assert len(text) == 1_115_394 and len(set(text)) == 65
    names = datasets.names()
    assert len(names) == 32_033 and names[:2] == ["emma", "olivia"]
    title = next(datasets.enwiki().documents())[0].name
    assert isinstance(title, str)
    films = datasets.movielens()
    assert (len(films), len(set(films.users)), len(films.titles), len(films.tags)) == (100_836, 610, 9_742, 3_683)
    assert films.titles[0] == "Toy Story (1995)" and films.genres[0][:2] == ["Adventure", "Animation"]
    assert films.ratings.dtype == np.float32 and (films.ratings.min(), films.ratings.max()) == (0.5, 5)
    assert set(films.movies) <= set(films.movie_ids)


# --- where a file is found -------------------------------------------------------------------------------------------


def test_importing_the_loaders_is_cheap():
    program = "import minitorch.datasets, sys; print([m for m in sys.modules if m.startswith('minitorch.datasets.')])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"
    assert set(datasets.__all__) <= set(dir(datasets)) and all(hasattr(datasets, name) for name in datasets.__all__)
    with pytest.raises(AttributeError, match="minitorch.datasets has no 'sst3'; it has .*sst2"):
        _ = datasets.sst3


def test_order_of_the_folders(tmp_path, monkeypatch):
    for place, text in (("root", "in root"), ("data/names", "indata"), ("cache/names", "incache")):
        write(tmp_path / place, names__txt=text.replace(" ", ""))
    monkeypatch.setenv("MINITORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MINITORCH_DATA", str(tmp_path / "data"))
    assert datasets.names(tmp_path / "root", check=False) == ["inroot"]
    assert datasets.names(check=False) == ["indata"]
    (tmp_path / "data/names/names.txt").unlink()
    assert datasets.names(check=False) == ["incache"]
    monkeypatch.delenv("MINITORCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(sources.cache_folder()) == os.path.join("/somewhere", "minitorch", "datasets")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sources.cache_folder() == labelled.sources.Path.home() / ".cache/minitorch/datasets"


def test_splits_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="sst2: the split 'dev' does not exist. Splits: train, validation, test"):
        datasets.sst2("dev")
    with pytest.raises(ValueError, match="'train' is named twice"):
        datasets.sst2("train+train")
    with pytest.raises(ValueError, match="the split None does not exist"):
        datasets.sst2(None)
    with pytest.raises(ValueError, match="expected the language 'de' or 'en', got 'fr'"):
        datasets.multi30k("train", target="fr")
    write(tmp_path / "sst2", dev__tsv="good\t1\n")
    monkeypatch.setenv("MINITORCH_DATA", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"sst2: there is no test.tsv in .*sst2 and .*sst2, and it is not"
    ) as error:
        datasets.sst2("test")
    for part in ("in $MINITORCH_DATA/sst2.", "https://nlp.stanford.edu", "Splits that are there: validation"):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match="never pass the files on. Splits that are there: none"):
        datasets.conll2003("train", tmp_path)


def test_held_out_files_are_read_when_they_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MINITORCH_DATA", str(tmp_path))
    write(tmp_path / "sst2", test__tsv="a fine film\t1\na dull film\t0")
    write(tmp_path / "imdb", test__tsv='label\trating\tid\ttext\n1\t9\t1\t"All" of it<br />\n0\t1\t2\tno\n')
    write(tmp_path / "conll2003", test__bio="-DOCSTART- O\n\nEU B-ORG\nsays O\n\n-DOCSTART- -X- O O\n\nno O")
    write(tmp_path / "wnut17", **{"emerging__test__annotated": "Rick\tB-person\n\t\nso\u00a0\tO\nRick\tI-person\n\n"})
    own = sources.Source("", "", {"categories.json": sources.File(), "test.csv": sources.File()})
    monkeypatch.setitem(sources.SOURCES, "banking77", own)
    write(
        tmp_path / "banking77", test__csv='text,category\r\n"two\nlines",b\r\nwhy?,a\r\n', categories__json='["a", "b"]'
    )
    write(tmp_path / "multi30k", **{"test_2016_flickr__de__gz": gzip.compress("Ein Hund\u2028läuft\n".encode()),
                                    "test_2016_flickr__en__gz": gzip.compress(b"A dog\n")})  # fmt: skip
    assert datasets.sst2("test") == TextClassification(["a fine film", "a dull film"], [1, 0], ["negative", "positive"])
    assert datasets.imdb("test").texts == ['"All" of it<br />', "no"]
    conll = datasets.conll2003("test")
    assert conll.sentences == [["EU", "says"], ["no"]] and conll.documents == [0, 1]
    twice = conll + conll
    assert twice.documents == [0, 1, 2, 3] and len(twice) == 4 and twice.select([1]).sentences == [["no"]]
    wnut = datasets.wnut17("test")  # an I- that follows another kind, or nothing, begins an entity
    assert (wnut.sentences, wnut.tags) == ([["Rick"], ["so\u00a0", "Rick"]], [["B-person"], ["O", "I-person"]])
    assert datasets.banking77("test") == TextClassification(["two\nlines", "why?"], [1, 0], ["a", "b"])
    assert datasets.multi30k("test").source == ["Ein Hund\u2028läuft"]
    with pytest.raises(ValueError, match="only data of one type with the same classes"):
        _ = conll + wnut


# --- downloads -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(folder):
    """The folder behind a local address, and the paths that were asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def offered(monkeypatch, name, **files):
    """The table says that `name` has these files: name -> (what it should hold or None, address, what makes it or not)."""
    table = {
        file.replace("__", "."): sources.File(hashlib.sha256(data).hexdigest() if data else "", len(data or b""), *how)
        for file, (data, *how) in files.items()
    }
    monkeypatch.setitem(sources.SOURCES, name, sources.Source("the authors", "free", table))


def test_download(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MINITORCH_DATA", raising=False)
    cache = sources.cache_folder() / "names"
    site = write(tmp_path / "site", names__txt="ann\nbob\n")
    with served(site) as (address, asked):
        offered(monkeypatch, "names", names__txt=(b"ann\nbob\n", f"{address}/names.txt"))
        assert datasets.names() == ["ann", "bob"] and "Downloading http" in capsys.readouterr().err
        assert [f.name for f in cache.iterdir()] == ["names.txt"]
        assert datasets.names() == ["ann", "bob"] and len(asked) == 1  # from the cache
        assert datasets.names(tmp_path / "new" / "root") == ["ann", "bob"]
        assert (tmp_path / "new" / "root" / "names.txt").is_file()

        (cache / "names.txt").write_text("ann\nbib\n")
        with pytest.raises(
            LoadError, match=r"names.txt: the checksum is \w+ \(8 bytes\), expected \w+.*Delete it"
        ) as error:
            datasets.names()
        assert "pass check=False" in str(error.value) and datasets.names(check=False) == ["ann", "bib"]


def test_a_download_that_goes_wrong_leaves_everything_as_it_was(tmp_path, monkeypatch):
    monkeypatch.delenv("MINITORCH_DATA", raising=False)
    site = write(tmp_path / "site", names__txt="ann\nbob\n")
    root = write(tmp_path / "root", other="kept")
    with served(site) as (address, _):
        for data, message in (
            (b"ann\nbib\n", r"the checksum of what came is \w+, expected \w+; 8 bytes came, expected 8"),
            (b"ann\n", "stopped: expected 4 bytes at most, more came"),
        ):
            offered(monkeypatch, "names", names__txt=(data, f"{address}/names.txt"))
            with pytest.raises(ConnectionError, match=message) as error:
                datasets.names(root)
            assert "Put it under this name in that folder. Source: the authors" in str(error.value)
        offered(monkeypatch, "names", names__txt=(b"", f"{address}/nowhere.txt"))
        with pytest.raises(ConnectionError, match="(?s)Error downloading names.txt:.*404.*there is no names.txt in"):
            datasets.names(root)
    with pytest.raises(ConnectionError, match="Error downloading names.txt"):  # nobody answers any more
        datasets.names(root)
    assert [f.name for f in root.iterdir()] == ["other"]


def test_a_file_in_an_archive(tmp_path, monkeypatch):
    monkeypatch.delenv("MINITORCH_DATA", raising=False)
    archive = tmp_path / "names.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("folder/names.txt", "ann\n")
        packed.writestr("../evil", "never unpacked")
    whole = archive.read_bytes()
    with served(tmp_path) as (address, _):
        zipped = (whole, f"{address}/names.zip")
        member = f"{address}/names.zip#folder/names.txt"
        offered(monkeypatch, "names", names__txt=(b"ann\n", member), names__zip=zipped)
        assert datasets.names(tmp_path / "root") == ["ann"] and not list(tmp_path.rglob("evil"))
        for data, url, message in (
            (b"bob\n", member, "the checksum of folder/names.txt in it is"),
            (b"ann\n", f"{address}/names.zip#no.txt", "one without no.txt"),
        ):
            offered(monkeypatch, "names", names__txt=(data, url), names__zip=zipped)
            with pytest.raises(RuntimeError, match=message):
                datasets.names(tmp_path / "other")
        archive.write_bytes(whole[:-30])
        offered(monkeypatch, "names", names__txt=(b"ann\n", member), names__zip=(whole[:-30], zipped[1]))
        with pytest.raises(RuntimeError, match="a damaged archive"):
            datasets.names(tmp_path / "damaged")
    assert [f.name for f in (tmp_path / "other").iterdir()] == ["names.zip"]


HEADER = "label\trating\tid\ttext\n"


def tar_gz(files):
    """An archive of the files, name -> text or bytes, as bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            data = data.encode() if isinstance(data, str) else data
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def offered_imdb(monkeypatch, address, archive, train=b"the known table"):
    monkeypatch.delenv("MINITORCH_DATA", raising=False)
    url = f"{address}/aclImdb.tar.gz"
    offered(
        monkeypatch, "imdb",
        train__tsv=(train, f"{url}#aclImdb/train", archives.reviews),
        test__tsv=(None, f"{url}#aclImdb/test", archives.reviews),
        aclImdb__tar__gz=(archive, url),
    )  # fmt: skip


IMDB = tar_gz({
    "aclImdb/README": "no review",
    "aclImdb/test/pos/3_9.txt": "Naïve<br />\x1cfun",
    "aclImdb/train/labeledBow.feat": "9 0:9 1:1",
    "aclImdb/train/neg/7_1.txt": "bad\tworse\r\nworst\u2028ever\n",
    "aclImdb/train/unsup/1_0.txt": "nobody knows",
    "aclImdb/train/pos/10_8.txt": "good ",
    "aclImdb/train/pos/9_10.txt": 'very "good"',
    "aclImdb/train/neg/0_2.txt": "dull\x85",
    "../aclImdb/train/neg/5_5.txt": "evil",
})  # fmt: skip
TRAIN = HEADER + '1\t10\t9\tvery "good"\n1\t8\t10\tgood \n0\t2\t0\tdull\n0\t1\t7\tbad worse worst ever\n'


def test_reviews_from_an_archive(tmp_path, monkeypatch, capsys):
    cache = sources.cache_folder() / "imdb"
    with served(write(tmp_path / "site", aclImdb__tar__gz=IMDB)) as (address, asked):
        offered_imdb(monkeypatch, address, IMDB)
        data = datasets.imdb("train+validation")
        assert (data.texts, data.labels) == (['very "good"', "good ", "dull", "bad worse worst ever"], [1, 1, 0, 0])
        assert (cache / "train.tsv").read_bytes().decode() == TRAIN and len(asked) == 1
        shown = capsys.readouterr().err
        assert "Downloading http" in shown and f"Making {cache / 'train.tsv'} from {cache / 'aclImdb.tar.gz'}" in shown
    assert datasets.imdb("test").texts == ["Naïve<br /> fun"]  # of the archive that is there; nobody answers any more
    (cache / "aclImdb.tar.gz").unlink()
    assert datasets.imdb("train+validation") == data
    digest = hashlib.sha256(TRAIN.encode()).hexdigest()
    assert (cache / "train.tsv.sha256").read_text() == f"{digest}  train.tsv\n"  # as sha256sum -c reads it
    assert sorted(f.name for f in cache.iterdir()) == ["test.tsv", "test.tsv.sha256", "train.tsv", "train.tsv.sha256"]
    assert not list(tmp_path.rglob("5_5.txt"))


def test_a_table_that_is_damaged_after_it_was_made_is_refused(tmp_path, monkeypatch):
    root = write(tmp_path / "root", aclImdb__tar__gz=IMDB)
    offered_imdb(monkeypatch, "http://nowhere", IMDB)
    for split, file in (("train+validation", root / "train.tsv"), ("test", root / "test.tsv")):
        made = datasets.imdb(split, root)
        file.write_text(file.read_text().replace("fun", "run").replace("good", "food"))
        with pytest.raises(
            LoadError, match=r"the checksum is \w+ \(\d+ bytes\), expected .*\w{64}, as noted when.*Delete it and"
        ):
            datasets.imdb(split, root)
        assert datasets.imdb(split, root, check=False) != made
        file.unlink()
        assert datasets.imdb(split, root) == made
    known = TRAIN.partition("1\t8")[0].encode()
    offered_imdb(monkeypatch, "http://nowhere", IMDB, known)
    (root / "train.tsv").write_bytes(known)  # the known table is right where another one was made
    assert len(datasets.imdb("train+validation", root)) == 1
    (root / "train.tsv").write_text(TRAIN)
    (root / "train.tsv.sha256").write_bytes(b"\xff")
    with pytest.raises(LoadError, match="expected .* or .*it is not the published file, or it is damaged"):
        datasets.imdb("train", root)
    (root / "train.tsv.sha256").unlink()
    with pytest.raises(LoadError, match=rf"expected \w{{64}} \({len(known)} bytes\): it is not the published file"):
        datasets.imdb("train", root)
    write(tmp_path / "names", names__txt="ann\n", names__txt__sha256=hashlib.sha256(b"ann\n").hexdigest())
    with pytest.raises(LoadError, match="not the published file"):  # a note counts only for what is made
        datasets.names(tmp_path / "names")


def test_archives_that_are_not_as_they_should_be(tmp_path, monkeypatch):
    many = {f"aclImdb/train/pos/{i}_9.txt": os.urandom(300).hex() for i in range(50)}
    whole = tar_gz(many)
    altered = bytearray(gzip.compress(gzip.decompress(whole), 0))
    altered[len(altered) // 2] ^= 1  # stored as it is: only gzip's checksum, at the end, says so
    for data, message in (
        (whole[: len(whole) // 2], "a damaged archive"),
        (bytes(altered), "a damaged archive.*CRC"),
        (gzip.compress(b"no tar archive" * 99), "a damaged archive"),
        (b"no gzip", "a damaged archive"),
        (tar_gz({"aclImdb/train/pos/1_9.txt": b"na\xefve"}), "a damaged archive.*utf-8"),
        (tar_gz({"aclImdb/train/unsup/1_0.txt": "?"}), "without aclImdb/train .*there are no reviews"),
    ):
        root = write(tmp_path / str(len(list(tmp_path.iterdir()))), aclImdb__tar__gz=data)
        offered_imdb(monkeypatch, "http://nowhere", data)
        for check in (True, False):
            with pytest.raises(LoadError, match=f"(?s){message}.*Delete it\nimdb: there is no train.tsv in .*Put it"):
                datasets.imdb("train", root, check=check)
        assert [f.name for f in root.iterdir()] == ["aclImdb.tar.gz"]

    root = write(tmp_path / "other", aclImdb__tar__gz=IMDB)
    offered_imdb(monkeypatch, "http://nowhere", whole)  # not this one
    with pytest.raises(LoadError, match="(?s)aclImdb.tar.gz: the checksum is.*Delete it.*there is no train.tsv in"):
        datasets.imdb("train", root)
    assert len(datasets.imdb("train+validation", root, check=False)) == 4
    with pytest.raises(LoadError, match="train.tsv: the checksum is"):  # what an unchecked archive gave stays unchecked
        datasets.imdb("train", root)
    assert sorted(f.name for f in root.iterdir()) == ["aclImdb.tar.gz", "train.tsv"]
    with pytest.raises(ConnectionError, match="there is no aclImdb.tar.gz in .*Put it under this name in that folder"):
        datasets.imdb("train", tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_finance_news_from_an_archive(tmp_path, monkeypatch, end):
    monkeypatch.delenv("MINITORCH_DATA", raising=False)
    texts = ["Sales rose 5 % in Jyväskylä .", "No change \x85 at info@firm ."]
    lines = (end or "\r\n").join([f"{texts[0]}@positive", f"{texts[1]}@neutral"]) + end
    ours = f"\ufeff{texts[0]}@positive\r\n{texts[1]}@neutral\r\n".encode()
    with zipfile.ZipFile(tmp_path / "bank.zip", "w") as packed:
        packed.writestr("v1/Sentences.txt", lines.encode("latin-1"))
    whole = (tmp_path / "bank.zip").read_bytes()
    with served(tmp_path) as (address, asked):
        url = f"{address}/bank.zip"
        for member in ("v1/Sentences.txt", "v2/Sentences.txt"):
            text = (ours, f"{url}#{member}", archives.utf8)
            offered(monkeypatch, "financial_phrasebank", Sentences_50Agree__txt=text, bank__zip=(whole, url))
            if member[:2] == "v1":
                data = datasets.financial_phrasebank("train+validation+test")
                assert (data.texts, data.labels) == (texts, [2, 1]) and len(asked) == 1
    cache = sources.cache_folder() / "financial_phrasebank"
    assert (cache / "Sentences_50Agree.txt").read_bytes() == ours  # the published bytes: nothing to note
    assert sorted(f.name for f in cache.iterdir()) == ["Sentences_50Agree.txt", "bank.zip"]
    assert datasets.financial_phrasebank("train+validation+test") == data
    (cache / "Sentences_50Agree.txt").unlink()
    with pytest.raises(LoadError, match="bank.zip: a damaged archive, or one without v2/Sentences.txt"):
        datasets.financial_phrasebank()
    assert [f.name for f in cache.iterdir()] == ["bank.zip"]


@real
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_finance_news_become_the_known_file(tmp_path, end):
    with open(sources.find("financial_phrasebank", "Sentences_50Agree.txt"), encoding="utf-8-sig") as file:
        lines = file.read().replace("\n", end).encode("latin-1")
    with zipfile.ZipFile(tmp_path / "bank.zip", "w") as packed:
        packed.writestr("Sentences.txt", lines)
    made = archives.utf8(str(tmp_path / "bank.zip"), "Sentences.txt")
    known = sources.SOURCES["financial_phrasebank"].files["Sentences_50Agree.txt"]
    assert (hashlib.sha256(made).hexdigest(), len(made)) == known[:2]


def test_the_first_photographs_of_an_archive(tmp_path, monkeypatch):
    monkeypatch.delenv("MINITORCH_DATA", raising=False)
    name, batch = "cifar10_first4000_lossless__bin", "cifar-10-batches-bin/data_batch_1.bin"
    records = np.random.default_rng(0).integers(0, 10, 4 * 3073).astype(np.uint8).tobytes()
    whole = tar_gz({"cifar-10-batches-bin/readme.html": "no images", batch: records})
    with served(write(tmp_path / "site", cifar__tar__gz=whole)) as (address, asked):
        url = f"{address}/cifar.tar.gz"
        offered(monkeypatch, "cifar10_4k", **{name: (records[:6146], f"{url}#{batch}"), "cifar__tar__gz": (whole, url)})
        data = datasets.cifar10_4k("train+validation+test")
        assert data.labels.tolist() == [records[0], records[3073]] and len(asked) == 1
        assert data.images.tobytes() == records[1:3073] + records[3074:6146]
    cache = sources.cache_folder() / "cifar10_4k"
    assert len(datasets.cifar10_4k("train+validation+test")) == 2
    assert sorted(f.name for f in cache.iterdir()) == ["cifar.tar.gz", name.replace("__", ".")]
    for known, member, message in (
        (records[3073:], batch, f"the checksum of {batch} in it is"),
        (records[:6146], "cifar-10-batches-bin/data_batch_6.bin", "without .*data_batch_6.bin"),
    ):
        offered(monkeypatch, "cifar10_4k", **{name: (known, f"{url}#{member}"), "cifar__tar__gz": (whole, url)})
        root = write(tmp_path / str(len(known)), cifar__tar__gz=whole)
        with pytest.raises(LoadError, match=message):
            datasets.cifar10_4k("train", root)
        assert [f.name for f in root.iterdir()] == ["cifar.tar.gz"]


def test_the_table_is_whole():
    for name, source in sources.SOURCES.items():
        assert source.home and source.licence and source.files
        for file, (sha256, size, url, make) in source.files.items():
            address, _, member = url.partition("#")
            assert bool(sha256) == bool(size or file.endswith(".zip")), (name, file)
            assert len(sha256) in (0, 64) and (not url or url.startswith("https://")) and (sha256 or not url or make)
            if member:
                assert source.files[address.rpartition("/")[2]].url == address
            else:
                assert not make and (not url or url.rpartition("/")[2] == file)


# --- files that are not as they should be ----------------------------------------------------------------------------

BIO = "a BIO tag: O, B-LOC, B-MISC, B-ORG, B-PER, I-LOC, I-MISC, I-ORG, I-PER, got"
CSV = "text,category\n"
MALFORMED = [
    ("sst2", {"train__tsv": "good\t1\nbad 0\n"}, r"train.tsv, line 2: expected text TAB label, got 'bad 0'"),
    ("sst2", {"train__tsv": "good\t1\n\nbad\t0\n"}, "train.tsv, line 2: expected text TAB label, got ''"),
    ("sst2", {"train__tsv": "good\t1\na\tb\t0\n"}, "line 2: expected text TAB label"),
    ("sst2", {"train__tsv": " \t1\n"}, "line 1: expected text TAB label"),
    ("sst2", {"train__tsv": "good\t1\nbad\t2"}, "line 2: expected a label: 0, 1, got '2'"),
    ("sst2", {"train__tsv": "good\t01"}, "line 1: expected a label: 0, 1, got '01'"),
    ("sst2", {"train__tsv": "good\t"}, "line 1: expected a label: 0, 1, got ''"),
    ("sst2", {"train__tsv": "\n\n"}, "train.tsv: the file is empty"),
    ("sst2", {"train__tsv": "good " * 99 + "1"}, r"got 'good good .*good g\.\.\.$"),
    ("sst2", {"train__tsv": b"\xef\xbb\xbfgood\t1\nna\xefve\t1"}, "line 2: expected utf-8 text, got the byte 0xef"),
    ("imdb", {"train__tsv": "1\t9\t1\tfine\n"}, "line 1: expected the header label TAB rating TAB id TAB text, got"),
    ("imdb", {"train__tsv": "label\trating\tid\ttext\n1\t9\tfine\n"}, "line 2: expected label TAB rating"),
    ("imdb", {"train__tsv": "label\trating\tid\ttext\n7\t9\t1\tfine\n"}, "line 2: expected a label: 0, 1, got '7'"),
    ("rt_polarity", {"rt-polarity__neg": "a\n\nb", "rt-polarity__pos": "c"}, "polarity.neg, line 2: expected a sentence"),
    ("banking77", {"train__csv": "category,text\n"}, "line 1: expected the header text,category, got 'category,text'"),
    ("banking77", {"train__csv": CSV + '"a\nb",x\nc,y,z\n'}, r"line 4: expected 2 columns \(text,category\), got \['c', 'y"),
    ("banking77", {"train__csv": CSV + "a,x\nb,z\n"}, "line 3: expected a category of .*categories.json, got 'z'"),
    ("banking77", {"train__csv": CSV + 'a,x\n"b,x\n'}, "line 3: not a csv record"),
    ("banking77", {"train__csv": CSV, "categories__json": '["x",\n]'}, "categories.json, line 2: not JSON"),
    ("banking77", {"train__csv": CSV, "categories__json": '{"x": 1}'}, "categories.json: expected a list of names"),
    ("banking77", {"train__csv": CSV + 'a,x\n" ",x\n'}, "line 3: expected a text, got ' '"),
    ("financial_phrasebank", {"Sentences_50Agree__txt": "up@positive\ndown\n"}, "line 2: expected text@label, got 'down'"),
    ("financial_phrasebank", {"Sentences_50Agree__txt": "a@b@good\n"}, "expected a label: negative, neutral, positive"),
    ("chnsenticorp_htl", {"ChnSentiCorp_htl_all__csv": "label,review\n2,a\n"}, "line 2: expected a label: 0, 1, got '2'"),
    ("thucnews_titles", {"train__txt": "a\t2", "class__txt": "x\ny"}, "line 1: expected a label: 0, 1, got '2'"),
    ("conll2003", {"train__bio": "EU B-ORG\nsays\n"}, "line 2: expected token SPACE tag, got 'says'"),
    ("conll2003", {"train__bio": "EU NNP B-NP B-ORG\n"}, "line 1: expected token SPACE tag, got 'EU NNP"),
    ("conll2003", {"train__bio": "EU B-ORG\nsays S-ORG\n"}, f"line 2: expected {BIO} 'S-ORG'"),
    ("conll2003", {"train__bio": "EU B-\n"}, f"line 1: expected {BIO} 'B-'"),
    ("conll2003", {"train__bio": "EU B-ORG\n O\n"}, "train.bio, line 2: expected token SPACE tag, got ' O'"),
    ("wnut17", {"wnut17train__conll": "EU\tO\n\n\tO\n"}, r"train.conll, line 3: expected token TAB tag, got '\\tO'"),
    ("wnut17", {"wnut17train__conll": "EU O\n"}, "line 1: expected token TAB tag, got 'EU O'"),
    ("wnut17", {"wnut17train__conll": "EU\tB-LOC\n"}, "line 1: expected a BIO tag: O, B-corporation.*got 'B-LOC'"),
]  # fmt: skip


@pytest.mark.parametrize("name, files, message", MALFORMED)
def test_malformed(tmp_path, name, files, message):
    root = write(tmp_path, **({"categories__json": '["x", "y"]'} if name == "banking77" else {}) | files)
    with pytest.raises(LoadError, match=message) as error:
        getattr(datasets, name)("train", root, check=False)
    assert str(error.value).startswith(str(tmp_path))


def test_malformed_translations(tmp_path):
    def captions(de, en, message):
        write(
            tmp_path,
            train__de__gz=gzip.compress(de) if isinstance(de, bytes) else de[0],
            train__en__gz=gzip.compress(en),
        )
        with pytest.raises(LoadError, match=message):
            datasets.multi30k("train", root=tmp_path, check=False)

    captions(b"ein\nzwei\n", b"one\n", r"train.de.gz has 2 lines, .*train.en.gz 1: expected as many, aligned")
    captions(b"ein\n\nzwei\n", b"one\n\ntwo\n", r"train.de.gz, line 2: expected a sentence, got ''")
    captions((gzip.compress(b"ein\n" * 99)[:-9],), b"one\n", "train.de.gz: a damaged or truncated gzip file")
    captions((b"ein\n",), b"one\n", "train.de.gz: a damaged or truncated gzip file")
    captions(b"ein\nB\xe4r\n", b"one\n", "train.de.gz, line 2: expected utf-8 text, got the byte 0xe4")


def test_too_much_text(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled, "MAX_BYTES", 1000)
    write(tmp_path, train__de__gz=gzip.compress(b"x" * 10_000), train__en__gz=gzip.compress(b"x"))
    with pytest.raises(LoadError, match="train.de.gz: more than 1,000 bytes"):
        datasets.multi30k("train", root=tmp_path, check=False)


def idx(array):
    array = np.asarray(array, np.uint8)
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def test_images(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (50, 28, 28)), rng.integers(0, 10, 50)
    images[25:] = images[:25]
    whole = {
        "train-images-idx3-ubyte__gz": gzip.compress(idx(images)),
        "train-labels-idx1-ubyte__gz": gzip.compress(idx(labels)),
    }
    write(tmp_path, **whole)
    train, validation = (datasets.mnist(split, tmp_path, check=False) for split in ("train", "validation"))
    assert len(train) + len(validation) == 50 and len(validation) > 0
    assert set(train.keys()).isdisjoint(validation.keys())
    assert datasets.mnist("train+validation", tmp_path, check=False).labels.tolist() == labels.tolist()
    for name, data, message in (
        ("images-idx3", gzip.compress(idx(images)[:-5]), "images-idx3-ubyte.gz, at byte .*: truncated: the shape"),
        (
            "images-idx3",
            whole["train-images-idx3-ubyte__gz"][:-20],
            "images-idx3-ubyte.gz: a damaged or truncated gzip",
        ),
        (
            "images-idx3",
            gzip.compress(idx(labels)),
            "images-idx3-ubyte.gz, at byte 0: expected the idx header 00000803",
        ),
        ("labels-idx1", gzip.compress(idx(labels[:9])), "50 images and 9 labels"),
        (
            "labels-idx1",
            gzip.compress(idx(labels + 1)),
            r"labels-idx1-ubyte.gz, at byte \d+: label 10 is not one of 10",
        ),
    ):
        write(tmp_path, **{**whole, f"train-{name}-ubyte__gz": data})
        with pytest.raises(LoadError, match=message):
            datasets.mnist("train", tmp_path, check=False)
    write(tmp_path, cifar10_first4000_lossless__bin=b"\x01" * 3074)
    with pytest.raises(LoadError, match="lossless.bin, at byte 3,073: truncated or altered"):
        datasets.cifar10_4k("train", tmp_path, check=False)


def test_malformed_data_without_labels(tmp_path):
    write(tmp_path, names__txt="ann\nBob\n", input__txt=b"ok\n\xff")
    with pytest.raises(LoadError, match="names.txt, line 2: expected a name in the letters a to z, got 'Bob'"):
        datasets.names(tmp_path, check=False)
    with pytest.raises(LoadError, match="input.txt, line 2: expected utf-8 text, got the byte 0xff"):
        datasets.tinyshakespeare(tmp_path, check=False)
    ratings = "userId,movieId,rating,timestamp\n1,1,4.0,5\n1,2,good,5\n"
    write(
        tmp_path, ratings__csv=ratings, movies__csv="movieId,title,genres\n", tags__csv="userId,movieId,tag,timestamp\n"
    )
    with pytest.raises(
        LoadError, match="ratings.csv, line 3: expected userId: int, movieId: int, rating: float.*'good'"
    ):
        datasets.movielens(tmp_path, check=False)
