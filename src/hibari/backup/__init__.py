"""Database and files in one archive, taken while the service runs, and put back.

The archive is a tar file: `files/KEY` for every file of the storage, `database.jsonl` with a line a row, and, last,
`manifest.json` with the schema's revision and each entry's SHA-256. It fits any kind of database and storage: what was
SQLite and a folder can come back as PostgreSQL and S3.

It is consistent without stopping anybody. A file is never changed once it is stored, so files are copied first, then
the rows are read as of one moment, then the files that came meanwhile are copied. Every finished video among the rows
has its files in the archive; should one have been deleted in between, the rows are read again.
"""

from hibari.backup.archive import Contents, read_contents
from hibari.backup.restore import restore_backup
from hibari.backup.write import write_backup

__all__ = ["Contents", "read_contents", "restore_backup", "write_backup"]
