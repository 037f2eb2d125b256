//! `volfold hash`: path, size and SHA-256 of every file.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Args;
use data_encoding::HEXLOWER;
use indicatif::ProgressBar;
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest, Sha256};
use volfold::files::Found;
use volfold::info::{Failure, path_text};
use volfold_block::{Finding, ReadBuffer};
use volfold_fs::{FileKind, FileSystem, FsError, FsResult, NodeId, StreamName};

use super::content::{PIECE, read_piece};
use super::outcome::Outcome;
use super::progress;
use super::report::Report;
use super::set::TreeArguments;
use super::text;
use super::walk::{self, Event};

/// Show `path<TAB>size<TAB>sha256` for every regular file, sorted by path
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold hash disk.vmdk
  volfold hash disk.vmdk -p /System/Windows --json

Tab, line feed, carriage return and \\ in paths are written \\t, \\n, \\r and \\\\. A file that
cannot be read is named on stderr and has no line; the exit code is then 3.")]
pub(crate) struct HashArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// Only below this path: /<volume>/dir
    #[arg(short, long, value_name = "PATH", default_value = "/")]
    path: OsString,
    /// Print JSON, version 1
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: TreeArguments,
}

#[derive(Serialize)]
struct HashJson<'a> {
    version: u32,
    files: Vec<FileJson>,
    failures: &'a [Failure],
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct FileJson {
    path: String,
    path_hex: Option<String>,
    size: u64,
    sha256: String,
}

/// The path of a file, and why it could not be read.
type Unread = (Vec<u8>, FsError);

struct Job {
    path: Vec<u8>,
    node: NodeId,
    size: u64,
}

pub(crate) fn run(arguments: &HashArguments) -> io::Result<Outcome> {
    let paths = std::slice::from_ref(&arguments.path);
    let mut opened = match arguments.set.open_tree(&arguments.disks, paths) {
        Ok(opened) => opened,
        Err(report) => return nothing(arguments, *report),
    };
    let path = opened.paths.first().cloned().unwrap_or_default();
    let found = opened.find(&path, true);
    let jobs = found.and_then(|found| collect(&opened.tree, &found, &mut opened.report));
    let jobs = match jobs {
        Ok(jobs) => jobs,
        Err(error) => {
            opened.report.path(&path, &error);
            return nothing(arguments, opened.report);
        }
    };
    let progress = progress::bar(jobs.iter().fold(0, |sum: u64, job| sum.saturating_add(job.size)));
    let (digests, mut failed) = hash_all(&opened.tree, &jobs, &progress);
    progress.finish_and_clear();
    failed.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, error) in &failed {
        opened.report.file(path, error);
    }
    let outcome = opened.end();
    print(arguments.json, &jobs, &digests, &opened.report)?;
    Ok(outcome)
}

/// The answer where nothing can be read.
fn nothing(arguments: &HashArguments, mut report: Report<'_>) -> io::Result<Outcome> {
    report.end();
    print(arguments.json, &[], &[], &report)?;
    Ok(Outcome::Nothing)
}

/// Every regular file at or below what was `found`, sorted by path.
fn collect(tree: &dyn FileSystem, found: &Found, report: &mut Report<'_>) -> FsResult<Vec<Job>> {
    let (start, path) = (tree.metadata(found.node)?, found.path.as_slice());
    let mut jobs = Vec::new();
    if start.kind != FileKind::Directory {
        jobs.push(Job { path: path.to_vec(), node: start.node, size: start.size });
        return Ok(jobs);
    }
    let walked = walk::walk(tree, start.node, path, true, &mut |event| {
        match event {
            Event::Node(visit) if visit.metadata.kind == FileKind::Regular => jobs.push(Job {
                path: visit.path.to_vec(),
                node: visit.metadata.node,
                size: visit.metadata.size,
            }),
            Event::Node(_) => {}
            Event::Failed(path, error) => report.file(path, &error),
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(()) = walked;
    jobs.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(jobs)
}

/// The digests of `jobs` in their order; `None` where a file could not be read.
fn hash_all(
    tree: &dyn FileSystem,
    jobs: &[Job],
    progress: &ProgressBar,
) -> (Vec<Option<[u8; 32]>>, Vec<Unread>) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((vec![None; jobs.len()], Vec::new()));
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut buf = ReadBuffer::new(PIECE);
                while let Some((index, job)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(index).map(|job| (index, job))
                } {
                    let outcome = digest(tree, job.node, &mut buf, progress);
                    let mut results = results.lock();
                    match outcome {
                        Ok(digest) => results.0[index] = Some(digest),
                        Err(error) => results.1.push((job.path.clone(), error)),
                    }
                }
            });
        }
    });
    results.into_inner()
}

fn digest(
    tree: &dyn FileSystem,
    node: NodeId,
    buf: &mut [u8],
    progress: &ProgressBar,
) -> FsResult<[u8; 32]> {
    let file = tree.open(node, &StreamName::MAIN)?;
    let mut hasher = Sha256::new();
    let mut offset = 0;
    while offset < file.size() {
        let piece = read_piece(&*file, offset, buf)?;
        hasher.update(piece);
        offset += piece.len() as u64;
        progress.inc(piece.len() as u64);
    }
    Ok(hasher.finalize().into())
}

fn print(
    json: bool,
    jobs: &[Job],
    digests: &[Option<[u8; 32]>],
    report: &Report<'_>,
) -> io::Result<()> {
    let hex = |digest: &[u8; 32]| HEXLOWER.encode(digest);
    let done = jobs.iter().zip(digests).filter_map(|(job, digest)| Some((job, digest.as_ref()?)));
    let mut answer = Vec::new();
    if json {
        let files = done
            .map(|(job, digest)| {
                let (path, path_hex) = path_text(&job.path);
                FileJson { path, path_hex, size: job.size, sha256: hex(digest) }
            })
            .collect();
        let (failures, findings) = (report.failures(), report.findings());
        let json = HashJson { version: 1, files, failures, findings };
        serde_json::to_writer_pretty(&mut answer, &json)?;
        answer.push(b'\n');
    } else {
        for (job, digest) in done {
            answer.extend_from_slice(&text::field(&job.path));
            writeln!(answer, "\t{}\t{}", job.size, hex(digest))?;
        }
    }
    text::answer(&answer)
}
