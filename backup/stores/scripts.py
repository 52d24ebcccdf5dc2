"""What runs on the store's host where one command is not enough: POSIX shell, ``sh -eu``, arguments by position."""

MAKE_PLACE = """
umask 077
mkdir -p "$1/wal"
cat > "$1/pgpass"
"""
"""place; stdin: the password file."""

MEASURE = """
find "$1" -type f -printf '%s\\n' | awk '{ files += 1; bytes += $1 } END { printf "%d %d\\n", files, bytes }'
sha256sum < "$1/backup_manifest"
tail -c 4096 "$1/backup_manifest"
"""
"""data directory: prints files and bytes, the manifest's SHA-256, the manifest's end."""

PUBLISH = """
umask 077
if [ -d "$1" ]; then
    rm -f "$1/pgpass"
    cat > "$1/$3"
    sync -f "$1/$3"
    mv -T "$1" "$2"
else
    [ -f "$2/$3" ]
fi
sync "$(dirname "$2")"
"""
"""partial, point, name of the description; stdin: the description. ``sync -f`` is syncfs(2): every byte of the copy.
Done again after the rename it finds the point and is well."""

SEND = """
cd "$1"
tar -c --format=pax --numeric-owner -f - ./data ./wal "./$2"
"""
"""point, name of the description: prints an archive of the point."""

PRINT = """
cd "$1"
list=$(find ./data ./wal "./$2" -printf '%y %s %p\\n')
printf '%s\\n\\n' "$list"
printf '%s\\n' "$list" | sed -n 's/^f [0-9]* //p' | tr '\\n' '\\0' | xargs -0 -r cat --
"""
"""point, name of the description: prints a line for each entry (kind, size, name), an empty one, then what the files
hold, in the order of the lines."""

ASIDE = """
rm -rf "$2"
mv -T "$1" "$2"
sync "$(dirname "$2")"
"""
"""point, another name, which an older one may have: what is damaged is kept as evidence, under no point's name."""

RECEIVE = """
umask 077
rm -rf "$1"
mkdir -p "$1"
if ! tar -x -C "$1" --no-same-owner --no-same-permissions -f - 2> "$1/.told"; then
    tail -n 5 "$1/.told" >&2
    exit 1
fi
rm "$1/.told"
"""
"""partial; stdin: an archive of SEND's. An attempt that is made twice begins anew. What tar says goes to a file: nobody
reads it while bytes pass, and one line a file would stop them."""

KEEP = """
if [ -f "$2/$3" ]; then
    rm -rf "$1"
    echo before
else
    sync -f "$1/$3"
    mv -T "$1" "$2"
fi
sync "$(dirname "$2")"
"""
"""partial, point, name of the description: as PUBLISH, of a copy that brings its description along; prints ``before``
where an earlier attempt kept it."""

REMOVE = """
rm -f "$1/$2"
rm -rf "$1"
"""
"""point, name of the description, which goes first: what is half removed is no point."""

COPY_TO_SCRATCH = """
umask 077
rm -rf "$2"
mkdir -p "$2/socket"
cp -a --reflink=auto "$1/data" "$2/data"
cd "$2/data"
rm -f postmaster.pid standby.signal
: > postgresql.auto.conf
: > recovery.signal
echo 'local all all trust' > pg_hba.conf
: > pg_ident.conf
cat PG_VERSION
LC_ALL=C "$3" -D "$2/data"
"""
"""point, scratch, pg_controldata: prints the version and the control file. Trust is on a socket in a 0700 folder."""

START_SCRATCH = """
cat > "$1/data/postgresql.conf"
if ! "$2" -D "$1/data" -l "$1/log" -w -t 300 start > "$1/start" 2>&1 < /dev/null; then
    tail -n 12 "$1/log" "$1/start" >&2
    exit 1
fi
"""
"""scratch, pg_ctl; stdin: the configuration. A server that inherits our pipe would hold the session open."""

CLEAR_SCRATCH = """
if [ -f "$1/data/postmaster.pid" ]; then
    "$2" -D "$1/data" -m immediate -w -t 30 stop > /dev/null 2>&1 < /dev/null || true
fi
rm -rf "$1"
"""
"""scratch, pg_ctl."""

PRESENT = """
for place in "$@"; do
    if [ -e "$place" ]; then echo "$place"; fi
done
"""
"""places: prints those that are there."""

HOLDS_POINTS = """
set -- "$1"/*/*/point-*
if [ -e "$1" ]; then echo yes; fi
"""
"""root: prints a word where any point lies below it."""

ASIDES = """
cd "$1"
for each in */*/.damaged-*; do
    if [ -e "$each" ]; then
        printf '%s %s %s\\n' "$(stat -c %Z -- "$each")" "$(du -sb -- "$each" 2> /dev/null | cut -f 1)" "$each"
    fi
done
"""
"""root: prints when (seconds since 1970), bytes and path of what is kept aside."""

LEFTOVERS = """
for left in "$1"/.scratch/* "$1"/*/*/.partial-*; do
    [ -d "$left" ] || continue
    echo "$left"
done
"""
"""root: prints the places of jobs, whether they still run or not."""
