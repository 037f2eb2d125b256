//! Where lines about failed requests go.

use std::sync::Arc;

/// Takes one line for the log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;
