"""File trees and buckets at the other site: what is missing there is pulled, read back, and marked by a canary."""
