"""Where a repository lies: a folder, a folder over SFTP, a bucket over S3; one kind of place a file."""
