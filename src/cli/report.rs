//! What a command left out, and what may be old or wrong in what it gave: told by every command in
//! the same words, on stderr and in JSON, and by its exit code.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use volfold::info::{Failure, NOT_READ, path_text};
use volfold::volume::Health;
use volfold::{DiskSet, SetVolume};
use volfold_block::{BlockError, Finding, Severity, code, error_chain};
use volfold_fs::{FileSystem, FsError};

use super::outcome::Outcome;
use super::{text, walk};

/// LIMIT: lines of one kind; those after them are counted.
const MAX_LINES: u32 = 20;

/// LIMIT: failures that are kept; those after them are counted.
const MAX_FAILURES: usize = 100_000;

/// LIMIT: findings that are kept; those after them are counted.
const MAX_FINDINGS: usize = 10_000;

/// The code of a volume of which bytes are missing.
const NOT_WHOLE: &str = "volume-not-whole";

/// What is to be told at the end.
pub(crate) struct Report<'a> {
    say: Box<dyn Fn(&str) + Send + Sync + 'a>,
    failures: Vec<Failure>,
    findings: Vec<Finding>,
    /// Failures and findings that are not kept.
    left_out: u64,
    lines: BTreeMap<(&'static str, &'static str), u32>,
    /// Whether warnings are told that cost nothing, too.
    tells_warnings: bool,
    /// Whether the answer is about a part of the set, or about its bytes.
    is_about_part: bool,
    /// Whether the answer has what is left out as bytes.
    has_left_out: bool,
    /// The kinds of lines that the command shows itself.
    shown: &'static [&'static str],
    /// Whether something bears on the answer.
    is_part: bool,
    /// What a volume is called, by its id.
    names: BTreeMap<String, String>,
    /// The ids of the volumes that are asked for; `None` for all.
    wanted: Option<HashSet<String>>,
    /// The disks under them.
    disks: HashSet<usize>,
    /// The top directories that could not be entered, which was told.
    closed: HashSet<Vec<u8>>,
}

impl Default for Report<'_> {
    /// A report on stderr.
    fn default() -> Self {
        Self::to(|line| text::complain(format_args!("{line}")))
    }
}

impl<'a> Report<'a> {
    /// A report whose lines go to `say`.
    pub(crate) fn to(say: impl Fn(&str) + Send + Sync + 'a) -> Self {
        Self {
            say: Box::new(say),
            failures: Vec::new(),
            findings: Vec::new(),
            left_out: 0,
            lines: BTreeMap::new(),
            tells_warnings: false,
            is_about_part: false,
            has_left_out: false,
            shown: &[],
            is_part: false,
            names: BTreeMap::new(),
            wanted: None,
            disks: HashSet::new(),
            closed: HashSet::new(),
        }
    }

    /// From now on lines go to `say`.
    pub(crate) fn say_by(&mut self, say: impl Fn(&str) + Send + Sync + 'a) {
        self.say = Box::new(say);
    }

    /// The same for an answer that shows volumes and findings itself, so that no line is needed.
    pub(crate) fn shown(self) -> Self {
        Self { shown: &["left-out", "volume", "finding"], ..self }
    }

    /// The same for a command that is asked for all that is odd.
    pub(crate) fn with_warnings(self) -> Self {
        Self { tells_warnings: true, ..self }
    }

    /// The same for a command that has lines of its own for volumes that are left out.
    pub(crate) fn without_left_out(self) -> Self {
        Self { shown: &["left-out"], ..self }
    }

    /// The same for an answer that has the bytes of what is left out.
    pub(crate) fn with_left_out(self, has: bool) -> Self {
        Self { has_left_out: has, ..self }
    }

    /// From now on the answer is about what was chosen of the set, or about bytes: a volume that a system on
    /// the set shows and the set lacks is told, and leaves nothing out of the answer.
    pub(crate) fn about_part(&mut self) {
        self.is_about_part = true;
    }

    /// Takes in that images could not be opened.
    pub(crate) fn images(&mut self, set: &DiskSet) {
        for failure in set.failures() {
            self.image(&failure.path, &failure.error);
        }
        // Where nothing is left, what was looked at is all there is to tell.
        if set.disks().is_empty() {
            for finding in set.findings() {
                self.line("left", finding.code.as_str(), &self.sentence(finding));
            }
        }
    }

    fn image(&mut self, path: &Path, error: &BlockError) {
        let code = error.kind().code();
        let (reason, shown) = (error_chain(error), path.display().to_string());
        self.line("image", code, &format!("{shown}: {reason} [{code}]"));
        self.add(Failure::of_image(shown, error));
    }

    /// Takes in what is known of the volumes of `set` that `asks` for, before they are entered:
    /// those that are left out, and what was noticed about their disks.
    pub(crate) fn volumes(&mut self, set: &DiskSet, asks: impl Fn(&SetVolume) -> bool) {
        let volumes: Vec<&SetVolume> = set.volumes().iter().map(|volume| &**volume).collect();
        let wanted: Vec<&&SetVolume> = volumes.iter().filter(|volume| asks(volume)).collect();
        if wanted.len() < volumes.len() {
            let ids = wanted.iter().map(|volume| volume.id().to_owned());
            self.wanted = Some(ids.collect());
        }
        for volume in &volumes {
            self.names.insert(volume.id().to_owned(), volume.name.clone());
        }
        for volume in &wanted {
            self.disks.extend(volume.volume.extents.iter().map(|extent| extent.disk));
        }
        let told: &[_] = if self.has_left_out { &[] } else { &wanted };
        for volume in told.iter().filter(|volume| volume.is_left_out()) {
            self.left_out(volume);
        }
        let is_failed = |volume: &&&&SetVolume| {
            let volume = &volume.volume;
            volume.health == Health::Failed && volume.membership.is_some()
        };
        for volume in wanted.iter().filter(is_failed).filter(|volume| !volume.is_left_out()) {
            self.not_whole(volume);
        }
        for finding in set.findings() {
            self.finding(finding.clone());
        }
        for finding in set.missing_volumes() {
            match self.is_about_part {
                true => self.note(finding),
                false => self.finding(finding.clone()),
            }
        }
    }

    /// Takes in what was noticed and bears on no answer of the command.
    fn note(&mut self, finding: &Finding) {
        if self.concerns(finding) && !self.findings.contains(finding) {
            let line = self.sentence(finding);
            self.line("finding", finding.code.as_str(), &line);
            self.findings.push(finding.clone());
        }
    }

    /// Whether `finding` is about a volume or a disk that is asked for.
    fn concerns(&self, finding: &Finding) -> bool {
        let Some(wanted) = &self.wanted else { return true };
        match (&finding.volume, finding.disk) {
            (Some(volume), _) => wanted.contains(volume),
            (None, Some(disk)) => self.disks.contains(&disk),
            (None, None) => true,
        }
    }

    fn left_out(&mut self, volume: &SetVolume) {
        let reason = volume.reason.clone().unwrap_or_default();
        let object = self.object_of(volume.id());
        self.line("left-out", NOT_READ, &format!("{object}not read: {reason} [{NOT_READ}]"));
        self.add(Failure::of_volume(volume.id(), NOT_READ, reason));
    }

    /// Takes in that parts of `volume` are missing, and with them bytes.
    fn not_whole(&mut self, volume: &SetVolume) {
        let reason = "parts of it are missing; what lies on them is an error".to_owned();
        let object = self.object_of(volume.id());
        self.line("volume", NOT_WHOLE, &format!("{object}{reason} [{NOT_WHOLE}]"));
        self.add(Failure::of_volume(volume.id(), NOT_WHOLE, reason));
    }

    /// Takes in what was noticed since, while the disks of `set` were read.
    pub(crate) fn later(&mut self, set: &DiskSet) {
        for finding in set.later_findings() {
            self.finding(finding);
        }
    }

    /// Takes in what a file system noticed, up to now.
    pub(crate) fn file_system(&mut self, id: &str, files: &dyn FileSystem) {
        for finding in files.findings() {
            self.finding(finding.on_volume(id));
        }
    }

    /// Takes in that the volume `id` with the folder `name` could not be entered.
    pub(crate) fn not_entered(&mut self, id: &str, name: &str, error: &FsError) {
        let (reason, object) = (error_chain(error), self.object_of(id));
        self.line(
            "volume",
            error.code(),
            &format!("{object}not read: {reason} [{}]", error.code()),
        );
        self.closed.insert([b"/", name.as_bytes()].concat());
        self.add(Failure::not_entered(id, error));
    }

    /// Takes in what was noticed, unless it is about volumes and disks that nobody asked for.
    pub(crate) fn finding(&mut self, finding: Finding) {
        if !self.concerns(&finding) || self.findings.contains(&finding) {
            return;
        }
        let bears = finding.bears_on_content();
        // Who asks for all that is odd asks whether all is in order.
        self.is_part |= bears || (self.tells_warnings && finding.severity != Severity::Info);
        // Who asks for deleted files, or for no journal, has to know what that gives.
        let is_of_wish = [code::DELETED_FILES, code::JOURNAL_LEFT_OUT].contains(&finding.code);
        let is_told = bears || is_of_wish;
        if is_told || (self.tells_warnings && finding.severity != Severity::Info) {
            let line = self.sentence(&finding);
            // A volume that is left out was told of, with the same reason.
            let told = self.failures.iter().any(|failure| {
                failure.volume == finding.volume
                    && failure.volume.is_some()
                    && failure.reason.contains(&finding.message)
            });
            if !told {
                self.line("finding", finding.code.as_str(), &line);
            }
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Takes in what contradicts itself, which a volume in order does not, however little it matters.
    pub(crate) fn contradiction(&mut self, finding: Finding) {
        self.is_part = true;
        if finding.severity == Severity::Info {
            let line = self.sentence(&finding);
            self.line("finding", finding.code.as_str(), &line);
        }
        self.finding(finding);
    }

    /// `finding` as one line, with what it is about.
    pub(crate) fn sentence(&self, finding: &Finding) -> String {
        let severity = match finding.severity {
            Severity::Info => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let object = match (&finding.volume, finding.disk) {
            (Some(volume), _) => self.object_of(volume),
            (None, Some(disk)) => format!("disk{disk}: "),
            (None, None) => String::new(),
        };
        format!("{severity}: {object}{finding} [{}]", finding.code)
    }

    /// The name of a volume and its id, as a line begins.
    fn object_of(&self, id: &str) -> String {
        match self.names.get(id) {
            Some(name) if name != id => format!("{name} ({id}): "),
            _ => format!("{id}: "),
        }
    }

    /// Takes in that the file or directory at `path` could not be read.
    pub(crate) fn file(&mut self, path: &[u8], error: &FsError) {
        self.refused(path, error.code(), error_chain(error));
    }

    /// Takes in that the path that was asked for could not be read.
    pub(crate) fn path(&mut self, path: &[u8], error: &FsError) {
        if self.closed.contains(path) {
            return;
        }
        (self.say)(&walk::path_error(path, error));
        self.add(Failure::of_path(path, error.code(), error_chain(error)));
    }

    /// Says a line that is no failure.
    pub(crate) fn tell(&self, line: &str) {
        (self.say)(line);
    }

    /// The same, which from now on says nothing: the caller does.
    pub(crate) fn silent(&mut self) -> &mut Self {
        self.say_by(|_| {});
        self
    }

    /// Takes in that `path` could not be had, and why, as the code and in words.
    pub(crate) fn refused(&mut self, path: &[u8], code: &'static str, reason: String) {
        if self.closed.contains(path) {
            return;
        }
        let (shown, _) = path_text(path);
        self.line("path", code, &format!("{shown}: {reason} [{code}]"));
        self.add(Failure::of_path(path, code, reason));
    }

    fn add(&mut self, failure: Failure) {
        self.is_part = true;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failure);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn line(&mut self, kind: &'static str, code: &'static str, line: &str) {
        if self.shown.contains(&kind) {
            return;
        }
        let count = self.lines.entry((kind, code)).or_default();
        *count = count.saturating_add(1);
        if *count <= MAX_LINES {
            (self.say)(line);
        }
    }

    /// What could not be had.
    pub(crate) fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// What was noticed.
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether something could not be had, or may be old.
    pub(crate) fn is_part(&self) -> bool {
        self.is_part
    }

    /// Tells how many lines were left out; how the command ended.
    pub(crate) fn end(&mut self) -> Outcome {
        for ((_, code), count) in std::mem::take(&mut self.lines) {
            if let Some(more) = count.checked_sub(MAX_LINES).filter(|more| *more > 0) {
                (self.say)(&format!("and {more} more [{code}]"));
            }
        }
        if self.left_out > 0 {
            let line = format!("{} more failures and findings are left out", self.left_out);
            self.findings.push(Finding::warning(code::TOO_MANY_FINDINGS, line));
            self.left_out = 0;
        }
        if self.is_part { Outcome::Part } else { Outcome::Done }
    }
}
