//! Which files of the host an image is made of.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold_block::{BlockResult, FileFacts};
use volfold_images::{Located, Locator};

/// A file of the host that an image is made of: itself, an extent, a parent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceFile {
    /// Its path, as messages call it.
    pub name: String,
    /// What the host said of it when it was opened.
    pub facts: FileFacts,
}

/// Writes down the files that are opened on behalf of one image.
#[derive(Clone, Default)]
pub(crate) struct SourceLog(Arc<Mutex<Vec<SourceFile>>>);

impl SourceLog {
    /// Writes down `image` and all files that are opened through it from now on.
    pub(crate) fn of(image: &mut Located) -> Self {
        let log = Self::default();
        log.add(image);
        image.files = Arc::new(Watched { files: image.files.clone(), log: log.clone() });
        log
    }

    fn add(&self, file: &Located) {
        if let Some(facts) = file.device.file_facts() {
            let mut files = self.0.lock();
            if !files.iter().any(|known| known.name == file.name) {
                files.push(SourceFile { name: file.name.clone(), facts });
            }
        }
    }

    /// The files that were opened until now.
    pub(crate) fn files(&self) -> Vec<SourceFile> {
        self.0.lock().clone()
    }
}

/// A policy whose answers are written down.
struct Watched {
    files: Arc<dyn Locator>,
    log: SourceLog,
}

impl Watched {
    /// Writes `located` down, and what is opened through it.
    fn watch(&self, located: Located) -> Located {
        self.log.add(&located);
        let files = Arc::new(Self { files: located.files, log: self.log.clone() });
        Located { files, ..located }
    }
}

impl Locator for Watched {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        self.files.open(reference).map(|located| self.watch(located))
    }

    fn candidates(&self, reference: &Path) -> BlockResult<Vec<Located>> {
        let all = self.files.candidates(reference)?.into_iter();
        Ok(all.map(|located| self.watch(located)).collect())
    }

    fn neighbours(&self, extension: &str, visit: &mut dyn FnMut(Located) -> ControlFlow<()>) {
        self.files.neighbours(extension, &mut |located| visit(self.watch(located)));
    }
}
