//! What the service has in the folder of the system.

/// The list, as it was installed.
pub(super) const LIST: &str = "service.toml";

/// What the service did.
pub(super) const LOG: &str = "service.log";

/// The folder of the records and logs of its mounts.
pub(super) const RECORDS: &str = "mounts";

/// How its mounts are.
pub(super) const STATUS: &str = "status.json";
