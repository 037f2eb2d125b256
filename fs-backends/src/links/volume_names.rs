//! What the guest's links call the volumes of a set.

use std::collections::HashMap;

/// What links of Windows call the volumes of a set (`C:`, `Volume{...}`), and where they are shown.
#[derive(Clone, Debug, Default)]
pub struct VolumeNames {
    /// The folders of all volumes with the name in lower case; `None` where one is not shown.
    folders: HashMap<Vec<u8>, Vec<Option<Vec<u8>>>>,
}

impl VolumeNames {
    /// The volume that links call `name` is shown as `folder`, or not at all.
    pub fn add(&mut self, name: &str, folder: Option<&str>) {
        let folder = folder.map(|folder| folder.as_bytes().to_vec());
        self.folders.entry(name.to_ascii_lowercase().into_bytes()).or_default().push(folder);
    }

    /// The same for a server that shows the volume `own` alone.
    pub fn only(&self, own: &[u8]) -> Self {
        let folders = self.folders.keys().map(|name| {
            let folder = self.get(own, name).flatten().filter(|folder| *folder == own);
            (name.clone(), vec![folder.map(<[u8]>::to_vec)])
        });
        Self { folders: folders.collect() }
    }

    /// The folder of the volume that a link in the volume `own` calls `name`: its own where that is
    /// one of them. `Some(None)` where it is not shown, or where several have the name, as copies of a
    /// disk do.
    pub fn get(&self, own: &[u8], name: &[u8]) -> Option<Option<&[u8]>> {
        let folders = self.folders.get(&name.to_ascii_lowercase())?;
        let is_own = |folder: &&Option<Vec<u8>>| folder.as_deref() == Some(own);
        let folder = folders.iter().find(is_own).or(match &folders[..] {
            [only] => Some(only),
            _ => None,
        });
        Some(folder.and_then(|folder| folder.as_deref()))
    }
}
