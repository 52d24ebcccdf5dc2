"""A repository's URL is read as restic reads it, and what it cannot mean is refused in one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.location import InFolder, Location, OverS3, OverSftp, parse_location
from ncia.core.base.errors import NciaError

MEANT: dict[str, Location] = {
    "/srv/repo": InFolder("/srv/repo"),
    "/srv/a:b": InFolder("/srv/a:b"),
    "repo": InFolder("repo"),
    "../repo": InFolder("../repo"),
    "./a:b": InFolder("./a:b"),
    "local:a:b": InFolder("a:b"),
    "/백업/저장소": InFolder("/백업/저장소"),
    "sftp://backup@store:2222//srv/repo": OverSftp("store", "/srv/repo", "backup", 2222),
    "sftp://backup@store/repo": OverSftp("store", "repo", "backup"),
    "sftp://store//srv/repo/": OverSftp("store", "/srv/repo"),
    "sftp://backup@[::1]:2222//srv/repo": OverSftp("::1", "/srv/repo", "backup", 2222),
    "sftp://a%40b@store//srv/a%20b": OverSftp("store", "/srv/a b", "a@b"),
    "sftp:backup@store:/srv/repo": OverSftp("store", "/srv/repo", "backup"),
    "sftp:backup@store:/srv/a@b:c": OverSftp("store", "/srv/a@b:c", "backup"),
    "sftp:store:srv//repo/../other": OverSftp("store", "srv/other"),
    "sftp:store:./2026": OverSftp("store", "2026"),
    "sftp:a@b@store:repo": OverSftp("store", "repo", "a@b"),
    "sftp:backup@[::1]:/srv/repo": OverSftp("::1", "/srv/repo", "backup"),
    "s3:https://store:9000/bucket/a/prefix": OverS3("https://store:9000", "bucket", "a/prefix"),
    "s3:http://127.0.0.1:9000/bucket": OverS3("http://127.0.0.1:9000", "bucket"),
    "s3:https://store:443/bucket/": OverS3("https://store", "bucket"),
    "s3:s3.example.org/bucket/p/": OverS3("https://s3.example.org", "bucket", "p"),
    "s3://s3.example.org/bucket//p": OverS3("https://s3.example.org", "bucket", "p"),
    "s3:https://[::1]:9000/bucket": OverS3("https://[::1]:9000", "bucket"),
}

REFUSED = {
    "": "it is empty",
    " ": "it is empty",
    "/srv/\x00": "cannot be shown",
    "local:": "names no folder",
    "C:\\repo": "no kind of store",
    "ftp://store/repo": "no kind of store",
    "rest:https://store/": "rest is one of restic's stores and none of ours",
    "sftp:store": "not user@host:folder",
    "sftp:store:": "not user@host:folder",
    "sftp::/srv/repo": "it names no host",
    "sftp:backup@store:2222/srv": "2222 stands where the folder begins",
    "sftp:store:~/repo": "no SFTP server knows ~",
    "sftp://store": "names no folder on that host",
    "sftp://store/": "names no folder on that host",
    "sftp:///srv/repo": "names no host",
    "sftp://store:70000//srv": "its host or port is none",
    "sftp://store:0//srv": "its port is not one of",
    "sftp://store:x//srv": "its host or port is none",
    "sftp://[::1//srv": "its host or port is none",
    "sftp://-oProxyCommand=x//srv": "is no host",
    "sftp://store//srv?a": "goes on after the folder",
    "sftp://store//srv%00": "cannot be shown",
    "s3:": "names no host",
    "s3:store": "names no bucket",
    "s3:https:///bucket": "names no host",
    "s3:https://store/": "names no bucket",
    "s3:https://store/a_bucket!": "is no bucket's name",
    "s3:https://store/bucket/../../x": "is no prefix",
    "s3:https://store/bucket?versionId=1": "goes on after the prefix",
}


@pytest.mark.parametrize("url", MEANT)
def test_a_url_means_what_restic_means_by_it(url: str) -> None:
    assert parse_location(url) == MEANT[url]


@pytest.mark.parametrize("url", [url for url, meant in MEANT.items() if not isinstance(meant, InFolder)])
def test_a_place_is_written_so_that_it_is_read_again(url: str) -> None:
    place = parse_location(url)
    if "%" not in url:
        assert parse_location(str(place)) == place


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_means_nothing_is_refused_with_the_reason(url: str) -> None:
    with pytest.raises(NciaError) as refused:
        parse_location(url)
    assert refused.value.code == "repository.bad-url"
    assert REFUSED[url] in refused.value.why
    assert refused.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "sftp://backup:hunter2@store//srv",
        "sftp:backup:hunter2@store:/srv",
        "s3:https://AK:hunter2@store/bucket",
        "s3:https://AK:hunt/er2@store/bucket",
        "ftp://backup:hunter2@store/x",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(NciaError) as refused:
        parse_location(url)
    assert "er2" not in str(refused.value)


@given(st.text(max_size=60), st.sampled_from(["", "sftp:", "sftp://", "s3:", "s3:https://", "local:", "/"]))
def test_any_text_is_a_place_or_one_refusal(text: str, before: str) -> None:
    codes = []
    try:
        parse_location(before + text)
    except NciaError as refused:
        codes.append(refused.code)
    assert codes in ([], ["repository.bad-url"])
