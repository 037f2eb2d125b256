//! The volumes of a set in the places where their systems show them.

use std::collections::HashMap;

use volfold_fs::links::VolumeNames;
use volfold_fs::{FsResult, TreeVolume, VolumeTree};

use super::merged::{directory_at, missing_volume};
use super::system::{GuestSystem, MountPoint};

/// Which volumes are put in the places of which directories, so that a tree is seen as the systems on it
/// see it.
#[derive(Clone, Debug, Default)]
pub struct Arrangement {
    places: Vec<VolumePlace>,
}

/// A volume in the place of a directory.
#[derive(Clone, Debug)]
struct VolumePlace {
    /// The folder of the volume with the directory.
    root: String,
    point: MountPoint,
    /// The folder of the volume that is seen there.
    name: String,
}

impl Arrangement {
    /// As `systems` see it; `name_of` gives the folder of a volume by its id.
    ///
    /// A volume is seen in one place, so that no directory lies in itself: the root of a system in its own
    /// folder, another one where the first system shows it. Other places of it are errors that say where it
    /// is.
    pub fn new<'a>(
        systems: impl IntoIterator<Item = &'a GuestSystem>,
        name_of: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let systems: Vec<(&GuestSystem, String)> = systems
            .into_iter()
            .filter(|system| has_one_tree(system))
            .filter_map(|system| Some((system, name_of(&system.volume)?)))
            .collect();
        let mut seen_at: HashMap<&str, String> =
            systems.iter().map(|(system, root)| (system.volume.as_str(), root.clone())).collect();
        let mut places: Vec<VolumePlace> = Vec::new();
        // Which of them is in a directory.
        let mut in_directory: HashMap<String, usize> = HashMap::new();
        let mut number = 0_usize;
        for (system, root) in &systems {
            for point in system.mount_points.iter().filter(|point| point.path != "/") {
                // No folder has a `/` in its name.
                number += 1;
                let no_name = format!("/{number}");
                let here = format!("{root}{}", point.path);
                let (name, reason) = match (&point.volume, &point.reason) {
                    // It keeps its own folder, if it has one.
                    (_, Some(reason)) => (no_name, Some(reason.clone())),
                    (None, None) => continue,
                    (Some(volume), None) => {
                        match (seen_at.get(volume.as_str()).cloned(), name_of(volume)) {
                            // A second line for the same.
                            (Some(place), _) if place == here => continue,
                            (Some(place), _) => (no_name, Some(format!("it is shown as {place}"))),
                            (None, Some(name)) => {
                                seen_at.insert(volume, here.clone());
                                (name, None)
                            }
                            (None, None) => continue,
                        }
                    }
                };
                let point = MountPoint { reason, ..point.clone() };
                let place = VolumePlace { root: root.clone(), point, name };
                // Of several volumes in one directory the last is seen, the others keep their folders.
                match in_directory.get(&here).and_then(|index| places.get_mut(*index)) {
                    Some(other) => *other = place,
                    None => {
                        in_directory.insert(here, places.len());
                        places.push(place);
                    }
                }
            }
        }
        Self { places }
    }

    /// Volumes in the places of those that are not there: every look at one is an error that says which
    /// is missing. They belong into the tree that is arranged.
    pub fn missing(&self) -> Vec<TreeVolume> {
        let missing = self.places.iter().filter(|place| place.is_missing());
        missing.map(|place| missing_volume(place.name.clone(), &place.point)).collect()
    }

    /// The folder in which the volume `name` is seen: that of a root, and the directories below it.
    pub fn place_of(&self, name: &str) -> Option<(&str, &str)> {
        let place = self.places.iter().find(|place| place.name == name)?;
        Some((&place.root, &place.point.path))
    }

    /// The places in which nothing is shown.
    pub fn not_shown(&self) -> impl Iterator<Item = &MountPoint> {
        self.places.iter().filter(|place| place.is_missing()).map(|place| &place.point)
    }

    /// Puts the volumes of `tree` in their places; what could not be put there, and why, as sentences. Such
    /// a volume keeps its own folder.
    pub fn apply(&self, tree: &mut VolumeTree) -> Vec<String> {
        let mut told = Vec::new();
        for place in &self.places {
            // What is missing needs no place that is missing too.
            if let Err(error) = place.apply(tree)
                && !place.is_missing()
            {
                told.push(format!(
                    "{} is not shown in {}: {error}",
                    place.point.source, place.point.path
                ));
            }
        }
        // What is not there has no folder, whether its place is or not.
        for place in self.places.iter().filter(|place| place.is_missing()) {
            // A mount of some of the volumes lacks those of others.
            let _ = tree.hide(place.name.as_bytes());
        }
        told
    }
}

impl VolumePlace {
    /// Whether the volume is not in the set.
    fn is_missing(&self) -> bool {
        self.name.starts_with('/')
    }

    fn apply(&self, tree: &mut VolumeTree) -> FsResult<()> {
        let root = [b"/", self.root.as_bytes()].concat();
        let place = directory_at(tree, &VolumeNames::default(), &root, &self.point.path)?;
        tree.cover(place, self.name.as_bytes())?;
        tree.hide(self.name.as_bytes())
    }
}

/// Whether a system shows its volumes in one tree, and not by letters.
fn has_one_tree(system: &GuestSystem) -> bool {
    system.folder == "/"
}
