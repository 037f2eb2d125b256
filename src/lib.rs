//! Opens sets of disk images.
