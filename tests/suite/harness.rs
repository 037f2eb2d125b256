//! How tests are found and run: plain functions below `#[apply(test)]`, and groups that loop over a registry.
//!
//! A test that cannot run here says so through [`needs`] and is shown as *ignored*, with its reason.
//! In CI it fails, unless `VOLFOLD_WITHOUT` names what it lacks: `VOLFOLD_WITHOUT="root, the public corpus"`.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// One test; [`test`] makes and registers it.
pub(crate) struct Test {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

inventory::collect!(Test);

/// Registers the function below `#[apply(test)]`.
macro_rules! test {
    ($(#[$attribute:meta])* fn $name:ident() $body:block) => {
        $(#[$attribute])*
        fn $name() $body

        inventory::submit! {
            crate::harness::Test { module: module_path!(), name: stringify!($name), run: $name }
        }
    };
}
pub(crate) use macro_rules_attribute::apply;
pub(crate) use test;

/// `println!` for what a test met on its way: shown with `-- --nocapture` only.
macro_rules! note {
    ($($words:tt)*) => {
        if crate::harness::is_talking() {
            println!($($words)*);
        }
    };
}
pub(crate) use note;

static TALKS: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_talking() -> bool {
    TALKS.load(Ordering::Relaxed)
}

/// Why a test ends early: what it lacks.
struct Lack(String);

thread_local! {
    /// What the running test went on without.
    static PARTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Ends the test as ignored unless `there`.
#[track_caller]
pub(crate) fn needs(what: &str, there: bool) {
    if !there {
        may_lack(what);
        resume_unwind(Box::new(Lack(what.to_owned())));
    }
}

/// Ends the test as ignored unless all of `programs` can be started.
#[track_caller]
pub(crate) fn needs_programs(programs: &[&str]) {
    for name in programs {
        needs(name, is_program(name));
    }
}

/// Ends the test as ignored unless there is something at `path`.
#[track_caller]
pub(crate) fn needs_path(path: &str) {
    needs(path, Path::new(path).exists());
}

/// For a part of a test: whether it is `there`. The test goes on without, and is ignored in the end.
#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn part_needs(what: &str, there: bool) -> bool {
    if !there {
        may_lack(what);
        PARTS.with_borrow_mut(|parts| parts.push(what.to_owned()));
    }
    there
}

/// Whether the host finds a program called `name`.
pub(crate) fn is_program(name: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(name).is_file())
}

/// Fails in CI, which has to have everything that it does not name in `VOLFOLD_WITHOUT`.
#[track_caller]
fn may_lack(what: &str) {
    let without = std::env::var("VOLFOLD_WITHOUT").unwrap_or_default();
    let is_named = without.split(',').any(|name| name.trim() == what);
    assert!(is_named || std::env::var_os("CI").is_none(), "CI lacks {what}");
}

/// Runs `test` and tells whether it could.
fn complete(test: impl FnOnce()) -> Result<Completion, Failed> {
    PARTS.with_borrow_mut(Vec::clear);
    match catch_unwind(AssertUnwindSafe(test)) {
        Ok(()) => {
            let parts = PARTS.with_borrow(|parts| parts.join(", "));
            if parts.is_empty() {
                return Ok(Completion::Completed);
            }
            Ok(Completion::ignored_with(format!("in part: needs {parts}")))
        }
        Err(panic) => match panic.downcast::<Lack>() {
            Ok(lack) => Ok(Completion::ignored_with(format!("needs {}", lack.0))),
            Err(panic) => resume_unwind(panic),
        },
    }
}

/// How many are [`side_by_side`]: programs that mostly wait, so more than there are processors.
const ABREAST: usize = 4;

/// What `work` makes of each of `items`, in their order, some of them at a time: for tests that start one program
/// after another.
pub(crate) fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(ABREAST).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let start = |share| scope.spawn(move || items_of(share, work));
        let threads: Vec<_> = items.chunks(share).map(start).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        ended.flatten().collect()
    })
}

fn items_of<T, R>(share: &[T], work: &(impl Fn(&T) -> R + Sync)) -> Vec<R> {
    share.iter().map(work).collect()
}

/// A test that was not written but made, for one entry of a registry.
pub(crate) fn made(name: String, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || complete(run))
}

/// Runs all registered tests, and those that were `made`.
pub(crate) fn run(made: Vec<Trial>) -> ExitCode {
    let arguments = Arguments::from_args();
    TALKS.store(arguments.nocapture || arguments.show_output, Ordering::Relaxed);
    let mut tests: Vec<&Test> = inventory::iter::<Test>.into_iter().collect();
    tests.sort_by_key(|test| (test.module, test.name));
    let named = tests.into_iter().map(|test| {
        // The name of the program stands before that of the module.
        let module = test.module.split_once("::").map_or("", |(_, module)| module);
        let run = test.run;
        Trial::ignorable_test(format!("{module}::{}", test.name), move || complete(run))
    });
    libtest_mimic::run(&arguments, made.into_iter().chain(named).collect()).exit_code()
}
