"""Where documents lie: a file tree over SFTP, a bucket over S3."""
