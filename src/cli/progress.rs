//! Progress on stderr, hidden where stderr is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar up to `total` bytes.
pub(crate) fn bar(total: u64) -> ProgressBar {
    styled(
        ProgressBar::new(total),
        "{bytes}/{total_bytes} [{wide_bar}] {bytes_per_sec}, {eta} left",
    )
}

/// For work whose size is not known.
pub(crate) fn spinner() -> ProgressBar {
    styled(ProgressBar::new_spinner(), "{spinner} {bytes} at {bytes_per_sec}  {wide_msg}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
