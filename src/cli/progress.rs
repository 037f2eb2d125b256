//! Progress on stderr, hidden where stderr is no terminal.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use volfold::{Monitor, Progress, Stage};

/// How long the work of a set takes before its progress is shown.
const PATIENCE: Duration = Duration::from_millis(500);

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

/// What shows how far the work of a set is, and stops showing it where [`ProgressBar::finish_and_clear`] is called.
pub(crate) fn of_set() -> (Monitor, ProgressBar) {
    let bar = styled(ProgressBar::new_spinner(), "{spinner} {wide_msg}");
    let (shown, begin) = (bar.clone(), Instant::now());
    let monitor = Monitor::new(move |progress| {
        if begin.elapsed() >= PATIENCE && !shown.is_finished() {
            shown.set_message(line(progress));
            shown.tick();
        }
        ControlFlow::Continue(())
    });
    (monitor, bar)
}

fn line(progress: &Progress) -> String {
    let work = match progress.stage {
        Stage::Images => "opening images",
        Stage::Disks => "reading partitions",
        Stage::Volumes => "looking for file systems",
        Stage::Systems => "looking for systems",
        Stage::Packages => "reading packages",
        _ => "reading",
    };
    match progress.total {
        Some(total) => format!("{work}: {} of {total}", progress.done),
        None => format!("{work}: {}", progress.done),
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
