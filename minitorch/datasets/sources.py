"""Where the public files come from, and how one is found: in `root`, else in MINITORCH_DATA, else in the cache.

The table holds for every file its checksum (SHA-256), its size and, where it is public, an address. A file without an
address must be put there by hand; a held-out test file, which has no checksum here either, is read as it is. What is
made from an archive may differ from the file that the table knows; then the archive's checksum vouches for it, and its
own is noted beside it, in FILE.sha256. The data are under their own licences, which may forbid passing them on: minitorch
ships none of them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ..utils.download import checksum, download
from ..utils.files import LoadError, atomic_file
from . import archives

Maker = Callable[[str, str], bytes]
NOTE = ".sha256"
SHA256 = hashlib.sha256().hexdigest()  # what one looks like


class File(NamedTuple):
    sha256: str = ""  # "": held out, so unknown here
    bytes: int = 0
    url: str = ""  # "": nobody serves these very bytes, or nobody may. archive#member: the first bytes of that member
    make: Maker | None = None  # makes it of archive and member; what it makes need not have the checksum


class Source(NamedTuple):
    home: str  # who made it and where it is offered
    licence: str
    files: dict[str, File]


GITHUB = "https://raw.githubusercontent.com"
SST2 = f"{GITHUB}/clairett/pytorch-sentiment-classification/master/data/SST2"
RT = f"{GITHUB}/yoonkim/CNN_sentence/4abc8df1de694999ff54826854d3ebc53e3e9c20"
WNUT = f"{GITHUB}/leondz/emerging_entities_17/master"
BANKING = f"{GITHUB}/PolyAI-LDN/task-specific-datasets/master/banking_data"
MULTI30K = f"{GITHUB}/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
IMDB = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
PHRASEBANK = ("https://huggingface.co/datasets/takala/financial_phrasebank/resolve/"
              "598b6aad98f7c8d67be161b12a4b5f2497e07edd/data/FinancialPhraseBank-v1.0.zip")  # fmt: skip
CIFAR10 = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MOVIELENS = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
FASHION = f"{GITHUB}/zalandoresearch/fashion-mnist/master/data/fashion"
THUCNEWS = f"{GITHUB}/649453932/Chinese-Text-Classification-Pytorch"
HTL = f"{GITHUB}/SophonPlus/ChineseNlpCorpus/4ef366aa97c927f5bd69e1d97dc88461590174fd/datasets/ChnSentiCorp_htl_all"

# fmt: off
SOURCES = {
    "tinyshakespeare": Source("plays of Shakespeare in one file, by Andrej Karpathy (char-rnn)", "public domain", {
        "input.txt": File("86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", 1_115_394,
                          f"{GITHUB}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"),
    }),
    "names": Source("first names, by Andrej Karpathy (makemore), from ssa.gov", "MIT", {
        "names.txt": File("0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d", 228_145,
                          f"{GITHUB}/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"),
    }),
    "enwiki": Source("articles of the English Wikipedia created since 2018, https://dumps.wikimedia.org", "CC BY-SA", {
        "enwiki.txt": File("d6fa5f6b76c23120e52027500dd4cb1e495fb1ff926e81f2f9d826fbfe9432d1", 24_292_480),
    }),
    "sst2": Source("Stanford Sentiment Treebank, https://nlp.stanford.edu/sentiment", "none given; for research", {
        "train.tsv": File("ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920", 720_259, f"{SST2}/train.tsv"),
        "dev.tsv": File("eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359", 92_057, f"{SST2}/dev.tsv"),
        "test.tsv": File(),
    }),
    "rt_polarity": Source("sentence polarity data set v1.0 of Pang and Lee, "
                          "https://www.cs.cornell.edu/people/pabo/movie-review-data", "none given; for research", {
        "rt-polarity.neg": File("4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca", 612_256,
                                f"{RT}/rt-polarity.neg"),
        "rt-polarity.pos": File("2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0", 626_139,
                                f"{RT}/rt-polarity.pos"),
    }),
    "imdb": Source("Large Movie Review Dataset of Maas et al., https://ai.stanford.edu/~amaas/data/sentiment (a .tsv is one "
                   "table of its reviews: label, rating, id, text)", "none given; for research", {
        "train.tsv": File("3caf694025aea94e5dbf3060187b74c74bfaabcfa29753f08a8fc685065eeade", 33_386_648,
                          f"{IMDB}#aclImdb/train", archives.reviews),  # the known one lacks four of the reviews
        "test.tsv": File("", 0, f"{IMDB}#aclImdb/test", archives.reviews),
        "aclImdb_v1.tar.gz": File("c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe", 84_125_825, IMDB),
    }),
    "conll2003": Source("CoNLL-2003 shared task, https://www.clips.uantwerpen.be/conll2003/ner; its texts are Reuters': get "
                        "them from NIST, https://trec.nist.gov/data/reuters/reuters.html, as `token tag` lines with BIO tags",
                        "restricted: never pass the files on", {
        "train.bio": File("9259aa1e809a86961a4ae758ab8a3ec1667f23e73d8419704d3c5d5a7b755e11", 1_655_711),
        "valid.bio": File("47cb3e706d05d811e169c93d0d7b2451af6eaae9e19f9324d1089ddef5266e23", 417_213),
        "test.bio": File(),
    }),
    "wnut17": Source("WNUT 2017 shared task, https://github.com/leondz/emerging_entities_17", "CC BY 4.0", {
        "wnut17train.conll": File("731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5", 493_781,
                                  f"{WNUT}/wnut17train.conll"),
        "emerging.dev.conll": File("e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8", 114_749,
                                   f"{WNUT}/emerging.dev.conll"),
        "emerging.test.annotated": File(),
    }),
    "banking77": Source("PolyAI, https://github.com/PolyAI-LDN/task-specific-datasets", "CC BY 4.0", {
        "train.csv": File("b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b", 839_073, f"{BANKING}/train.csv"),
        "categories.json": File("53261da888122daf2d120d925458631d9619e15d82e56052e7a42e535ce32b63", 2_036,
                                f"{BANKING}/categories.json"),
        "test.csv": File(),
    }),
    "financial_phrasebank": Source("Financial PhraseBank v1.0 of Malo et al., "
                                   "https://huggingface.co/datasets/takala/financial_phrasebank (its .txt stored as UTF-8)",
                                   "CC BY-NC-SA 3.0", {
        "Sentences_50Agree.txt": File("62bfa1a67f7b476a7e67fda3213d8d7f6890f5aaccdbc747c7555b94fc6cd171", 671_518,
                                      f"{PHRASEBANK}#FinancialPhraseBank-v1.0/Sentences_50Agree.txt", archives.utf8),
        "FinancialPhraseBank-v1.0.zip": File(  # as in the data set's LFS metadata
            "0e1a06c4900fdae46091d031068601e3773ba067c7cecb5b0da1dcba5ce989a6", 0, PHRASEBANK),
    }),
    "multi30k": Source("Multi30K, https://github.com/multi30k/dataset", "non-commercial research", {
        "train.en.gz": File("d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f", 568_929,
                            f"{MULTI30K}/train.en.gz"),
        "train.de.gz": File("726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6", 637_044,
                            f"{MULTI30K}/train.de.gz"),
        "val.en.gz": File("14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28", 21_650, f"{MULTI30K}/val.en.gz"),
        "val.de.gz": File("f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a", 24_681, f"{MULTI30K}/val.de.gz"),
        "test_2016_flickr.en.gz": File(),
        "test_2016_flickr.de.gz": File(),
    }),
    "ml-latest-small": Source("MovieLens, GroupLens, https://grouplens.org/datasets/movielens/latest",
                              "non-commercial", {
        "ratings.csv": File("aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646", 2_483_723,
                            f"{MOVIELENS}#ml-latest-small/ratings.csv"),
        "movies.csv": File("5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07", 494_431,
                           f"{MOVIELENS}#ml-latest-small/movies.csv"),
        "tags.csv": File("92a9f8bb7916dceef6151209845788c3643f794dfa79d1feaec7121b5960399d", 118_660,
                         f"{MOVIELENS}#ml-latest-small/tags.csv"),
        "ml-latest-small.zip": File("696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436", 0, MOVIELENS),
    }),
    "mnist": Source("LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist", "CC BY-SA 3.0", {
        "train-images-idx3-ubyte.gz": File("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422,
                                           f"{MNIST}/train-images-idx3-ubyte.gz"),
        "train-labels-idx1-ubyte.gz": File("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881,
                                           f"{MNIST}/train-labels-idx1-ubyte.gz"),
        "t10k-images-idx3-ubyte.gz": File("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877,
                                          f"{MNIST}/t10k-images-idx3-ubyte.gz"),
        "t10k-labels-idx1-ubyte.gz": File("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542,
                                          f"{MNIST}/t10k-labels-idx1-ubyte.gz"),
    }),
    "fashion_mnist": Source("Zalando Research, https://github.com/zalandoresearch/fashion-mnist", "MIT", {
        "train-images-idx3-ubyte.gz": File("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880,
                                           f"{FASHION}/train-images-idx3-ubyte.gz"),
        "train-labels-idx1-ubyte.gz": File("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515,
                                           f"{FASHION}/train-labels-idx1-ubyte.gz"),
        "t10k-images-idx3-ubyte.gz": File("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102,
                                          f"{FASHION}/t10k-images-idx3-ubyte.gz"),
        "t10k-labels-idx1-ubyte.gz": File("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148,
                                          f"{FASHION}/t10k-labels-idx1-ubyte.gz"),
    }),
    "cifar10_4k": Source("the first 4,000 records of data_batch_1.bin in Krizhevsky's "
                         "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "none given; for research", {
        "cifar10_first4000_lossless.bin": File("0993cf8b8e43bc207603aef9787006995746513f5e3fa5a52e06d1b069926330", 12_292_000,
                                               f"{CIFAR10}#cifar-10-batches-bin/data_batch_1.bin"),
        "cifar-10-binary.tar.gz": File("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170_052_171,
                                       CIFAR10),
    }),
    "thucnews_titles": Source("titles of THUCNews, http://thuctc.thunlp.org, as in "
                              "https://github.com/649453932/Chinese-Text-Classification-Pytorch", "for research", {
        "train.txt": File(),
        "dev.txt": File("6ed73aa2c57ee1560c8f76570d48735c4b1c29ae4983fe3523d56e115813e175", 551_313,
                        f"{THUCNEWS}/109e2aac8ada85096f839f6e5619a2f0a1774eb4/THUCNews/data/dev.txt"),
        "test.txt": File("ebecc8c896635ad69730083ca7b81d37c42c9a5779bc05c9d2479d894e34f026", 551_596,
                         f"{THUCNEWS}/e20553525b3132121562f7787e18db310c2e5b93/THUCNews/data/test.txt"),
        "class.txt": File("005e8813ad639c219e5902dc84889202b4a717b4238497d26c3fbd5e43927a86", 82,
                          f"{THUCNEWS}/e18953d56f6426e1cba9243a0abce0e519d527c8/THUCNews/data/class.txt"),
    }),
    "chnsenticorp_htl": Source("Tan Songbo's hotel reviews, https://github.com/SophonPlus/ChineseNlpCorpus",
                               "none given; for research", {
        "ChnSentiCorp_htl_all.csv": File("1d414b9c65caf3a836abdb4efded621968502ad3338e1a9d885ae131c86083f0", 2_904_858,
                                         f"{HTL}/ChnSentiCorp_htl_all.csv"),
    }),
}
# fmt: on


def cache_folder() -> Path:
    """MINITORCH_CACHE, else minitorch/datasets in XDG_CACHE_HOME, else in ~/.cache."""
    if own := os.environ.get("MINITORCH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "minitorch" / "datasets"


def folders(name: str, root: str | os.PathLike | None = None) -> list[Path]:
    """Where the files of data set `name` are looked for, in this order; a download goes to the last one."""
    if root is not None:
        folder = Path(root).expanduser()
        if folder.is_file():
            raise NotADirectoryError(f"{name}: expected the folder that holds its files, got the file {folder}")
        return [folder]
    data = os.environ.get("MINITORCH_DATA")
    return [*([Path(data).expanduser() / name] if data else []), cache_folder() / name]


def present(name: str, files: Iterable[str], root: str | os.PathLike | None = None) -> bool:
    """Whether all these files of the data set are there, without a download."""
    return all(any((folder / file).is_file() for folder in folders(name, root)) for file in files)


def find(name: str, file: str, root: str | os.PathLike | None = None, *, check: bool = True) -> str:
    """The path of a data set's file, downloaded if it is nowhere. `check=False` takes one that is not the published one."""
    source, places = SOURCES[name], folders(name, root)
    entry = source.files[file]
    for path in (folder / file for folder in places):
        if path.is_file():
            if check:
                _check(path, entry, source.home)
            return os.fspath(path)
    looked = f"{name}: there is no {file} in {' and '.join(os.fspath(folder) for folder in places)}"
    put = (
        f"Put it under this name {'in that folder' if root is not None else f'in $MINITORCH_DATA/{name}'}. "
        f"Source: {source.home}. Licence: {source.licence}"
    )
    if not entry.url:
        why = "no public address serves these bytes" if entry.sha256 else "its checksum is not known"
        raise FileNotFoundError(f"{looked}, and it is not downloaded, since {why}. {put}")
    target = os.fspath(places[-1] / file)
    places[-1].mkdir(parents=True, exist_ok=True)
    try:
        if "#" in entry.url:
            url, member = entry.url.split("#")
            archive = find(name, url.rpartition("/")[2], root, check=check)
            _unpack(archive, member, target, entry, note=check)  # an unchecked archive vouches for nothing
        else:
            download([entry.url], target, entry.sha256, entry.bytes or None)
    except RuntimeError as error:
        kind = LoadError if isinstance(error, LoadError) else ConnectionError
        raise kind(f"{error}\n{looked}. {put}") from None
    return target


def _check(path: Path, entry: File, home: str) -> None:
    """Refuses a file that is neither the known one nor what was made from the archive."""
    size = f" ({entry.bytes:,} bytes)" if entry.bytes else ""
    expected = {entry.sha256: entry.sha256 + size} if entry.sha256 else {}
    note = Path(f"{path}{NOTE}")
    if entry.make and note.is_file():
        if noted := note.read_text(errors="replace").partition(" ")[0]:
            expected[noted] = f"{noted}, as noted when it was made"
    if expected and (got := checksum(path, SHA256)) not in expected:
        raise LoadError(
            f"{path}: the checksum is {got} ({path.stat().st_size:,} bytes), expected {' or '.join(expected.values())}: it "
            f"is not the published file, or it is damaged. Delete it and get it again"
            f"{'' if entry.url else f' ({home})'}, or pass check=False to read a file of your own"
        )


def _unpack(archive: str, member: str, target: str, entry: File, note: bool) -> None:
    """A file of an archive, with the right checksum or not at all; or one made of it, with a note of its checksum."""
    print(f"Making {target} from {archive}", file=sys.stderr)
    try:
        if entry.make:
            data = entry.make(archive, member)
        else:
            data = archives.read_member(archive, member, entry.bytes)  # no more, whatever the archive says
    except (
        zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, KeyError, UnicodeDecodeError,
        RuntimeError,  # zipfile: it is encrypted; NotImplementedError: compressed in another way
    ) as error:  # fmt: skip
        raise LoadError(f"{archive}: a damaged archive, or one without {member} ({error}). Delete it") from None
    got = hashlib.sha256(data).hexdigest()
    if got != entry.sha256 and not entry.make:
        raise LoadError(f"{archive}: the checksum of {member} in it is {got}, expected {entry.sha256}. Delete it")
    if got != entry.sha256 and note:
        with atomic_file(target + NOTE) as out:
            out.write(f"{got}  {os.path.basename(target)}\n".encode())
    with atomic_file(target) as out:
        out.write(data)
