//! Shows a file system tree on the host.
