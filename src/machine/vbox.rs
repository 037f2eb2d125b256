//! VirtualBox's configuration of a machine (`.vbox`).
//!
//! Specification: none; the schema is in VirtualBox's source (`VirtualBox-settings.xsd`). Media are
//! registered by their UUID, a snapshot's inside its parent, with their place relative to the machine's
//! folder; controllers name the medium of each device, for the machine now and in each `Snapshot`.

use std::collections::BTreeMap;

use volfold_block::BlockResult;
use volfold_images::xml::{Node, attribute, child, children, document, utf8};

use super::config::{CONFIGURATION, MAX_SNAPSHOTS, Machine, MachineSnapshot};

/// The machine that `bytes` configure, now or as it was at `snapshot`.
pub(super) fn read(bytes: &[u8], snapshot: Option<&str>) -> BlockResult<Machine> {
    let document = document(CONFIGURATION, utf8(CONFIGURATION, bytes)?)?;
    let mut media = BTreeMap::new();
    let is_medium = |node: &Node<'_, '_>| node.tag_name().name() == "HardDisk";
    for medium in document.descendants().filter(is_medium) {
        if let (Some(uuid), Some(place)) =
            (attribute(medium, "uuid"), attribute(medium, "location"))
        {
            media.insert(uuid.to_ascii_lowercase(), place.to_owned());
        }
    }
    let Some(machine) = child(document.root_element(), "Machine") else {
        return Ok(Machine::default());
    };
    let (states, snapshots): (Vec<_>, Vec<_>) = snapshots(machine).into_iter().unzip();
    let past = match snapshot {
        Some(wanted) => MachineSnapshot::find(&snapshots, wanted)?,
        None => None,
    };
    let state = past.and_then(|index| states.get(index)).copied().unwrap_or(machine);
    let snapshot = past.and_then(|index| snapshots.get(index)).cloned();
    let mut found = Machine { snapshots, snapshot, ..Machine::default() };
    add_disks(state, &media, &mut found);
    Ok(found)
}

/// The snapshots of `machine`, each before those that were taken on top of it.
fn snapshots<'a, 'input>(machine: Node<'a, 'input>) -> Vec<(Node<'a, 'input>, MachineSnapshot)> {
    let mut found = Vec::new();
    let mut left: Vec<Node<'a, 'input>> = children(machine, "Snapshot").collect();
    while let Some(node) = left.pop()
        && found.len() < MAX_SNAPSHOTS
    {
        let text = |name| attribute(node, name).unwrap_or_default().to_owned();
        found.push((node, MachineSnapshot { id: text("uuid"), name: text("name") }));
        let above = child(node, "Snapshots").into_iter();
        let above: Vec<_> = above.flat_map(|node| children(node, "Snapshot")).collect();
        left.extend(above.into_iter().rev());
    }
    found
}

/// Adds the disks that `state`, a machine or a snapshot, has.
fn add_disks(state: Node<'_, '_>, media: &BTreeMap<String, String>, found: &mut Machine) {
    // Before VirtualBox 7 they are beside the hardware.
    let places = [child(state, "Hardware"), Some(state)];
    let controllers =
        places.into_iter().flatten().find_map(|node| child(node, "StorageControllers"));
    let Some(controllers) = controllers else { return };
    for controller in children(controllers, "StorageController") {
        let name = attribute(controller, "name").unwrap_or("controller");
        for device in children(controller, "AttachedDevice") {
            if attribute(device, "type") != Some("HardDisk") {
                continue;
            }
            let port = attribute(device, "port").unwrap_or("0");
            let slot = format!("{name} {port}:{}", attribute(device, "device").unwrap_or("0"));
            let image = child(device, "Image").and_then(|image| attribute(image, "uuid"));
            let Some(uuid) = image else { continue };
            match media.get(&uuid.to_ascii_lowercase()) {
                Some(place) => found.add(slot, place, None),
                None => found.leave_out(
                    slot,
                    format!("its medium {uuid} is registered elsewhere; give its file"),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VBOX: &str = r#"<?xml version="1.0"?>
      <VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux">
       <Machine uuid="{1}" name="web" currentSnapshot="{s2}">
        <MediaRegistry><HardDisks>
          <HardDisk uuid="{AA}" location="web.vdi" format="VDI" type="Normal">
            <HardDisk uuid="{bb}" location="Snapshots/{bb}.vdi" format="VDI">
              <HardDisk uuid="{cc}" location="Snapshots/{cc}.vdi" format="VDI"/>
            </HardDisk>
          </HardDisk>
        </HardDisks></MediaRegistry>
        <Snapshot uuid="{s1}" name="first"><Hardware><StorageControllers>
            <StorageController name="SATA"><AttachedDevice type="HardDisk" port="0" device="0">
              <Image uuid="{aa}"/></AttachedDevice></StorageController>
          </StorageControllers></Hardware>
          <Snapshots><Snapshot uuid="{s2}" name="second"><StorageControllers>
            <StorageController name="SATA"><AttachedDevice type="HardDisk" port="0" device="0">
              <Image uuid="{bb}"/></AttachedDevice></StorageController>
          </StorageControllers></Snapshot></Snapshots>
        </Snapshot>
        <Hardware><StorageControllers><StorageController name="SATA">
          <AttachedDevice type="HardDisk" port="0" device="0"><Image uuid="{cc}"/></AttachedDevice>
          <AttachedDevice type="HardDisk" port="1" device="0"><Image uuid="{dd}"/></AttachedDevice>
          <AttachedDevice passthrough="false" type="DVD" port="2" device="0"/>
        </StorageController></StorageControllers></Hardware>
       </Machine>
      </VirtualBox>"#;

    #[test]
    fn the_newest_state_or_that_of_a_snapshot_is_taken() {
        let of = |snapshot| {
            let machine = read(VBOX.as_bytes(), snapshot).unwrap();
            let files = machine.disks.iter().map(|disk| disk.file.shown.clone());
            (files.collect::<Vec<_>>(), machine.left_out.len(), machine.snapshot.is_some())
        };
        assert_eq!(of(None), (vec!["Snapshots/{cc}.vdi".to_owned()], 1, false));
        assert_eq!(of(Some("first")), (vec!["web.vdi".to_owned()], 0, true));
        assert_eq!(of(Some("second")), (vec!["Snapshots/{bb}.vdi".to_owned()], 0, true));
        assert_eq!(of(Some("S2")).0, ["Snapshots/{bb}.vdi"]);
        assert!(!of(Some("none")).2);
    }

    #[test]
    fn snapshots_are_told_from_the_oldest_on_and_a_name_has_to_mean_one() {
        let told = |text: &str| {
            let machine = read(text.as_bytes(), None).unwrap();
            machine.snapshots.into_iter().map(|one| (one.id, one.name)).collect::<Vec<_>>()
        };
        let pair = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        assert_eq!(told(VBOX), [pair("{s1}", "first"), pair("{s2}", "second")]);
        let twice = VBOX.replace("second", "first");
        let error = read(twice.as_bytes(), Some("first")).unwrap_err();
        assert_eq!(error.message(), "several snapshots are called first; give an id: {s1}, {s2}");
        assert!(read(twice.as_bytes(), Some("s1")).unwrap().snapshot.is_some());
    }
}
