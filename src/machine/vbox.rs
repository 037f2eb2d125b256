//! VirtualBox's configuration of a machine (`.vbox`).
//!
//! Specification: none; the schema is in VirtualBox's source (`VirtualBox-settings.xsd`). Media are
//! registered by their UUID, a snapshot's inside its parent, with their place relative to the machine's
//! folder; controllers name the medium of each device, for the machine now and in each `Snapshot`.

use std::collections::BTreeMap;

use volfold_block::BlockResult;
use volfold_images::xml::{Node, attribute, child, children, document, utf8};

use super::config::{CONFIGURATION, Machine};

/// LIMIT: how deep snapshots, and media, lie in each other.
const MAX_DEPTH: usize = 512;

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
    let past = snapshot.and_then(|wanted| find_snapshot(machine, wanted));
    let mut found = Machine { is_snapshot: past.is_some(), ..Machine::default() };
    add_disks(past.unwrap_or(machine), &media, &mut found);
    Ok(found)
}

/// The snapshot of `machine` whose name or UUID is `wanted`.
fn find_snapshot<'a, 'input>(machine: Node<'a, 'input>, wanted: &str) -> Option<Node<'a, 'input>> {
    let mut left: Vec<(Node<'a, 'input>, usize)> =
        children(machine, "Snapshot").map(|node| (node, 0)).collect();
    while let Some((node, depth)) = left.pop() {
        let uuid = attribute(node, "uuid").unwrap_or_default();
        let bare = uuid.trim_matches(['{', '}']);
        if attribute(node, "name") == Some(wanted)
            || uuid.eq_ignore_ascii_case(wanted)
            || bare.eq_ignore_ascii_case(wanted)
        {
            return Some(node);
        }
        if let Some(below) = child(node, "Snapshots").filter(|_| depth < MAX_DEPTH) {
            left.extend(children(below, "Snapshot").map(|node| (node, depth.saturating_add(1))));
        }
    }
    None
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
            (files.collect::<Vec<_>>(), machine.left_out.len(), machine.is_snapshot)
        };
        assert_eq!(of(None), (vec!["Snapshots/{cc}.vdi".to_owned()], 1, false));
        assert_eq!(of(Some("first")), (vec!["web.vdi".to_owned()], 0, true));
        assert_eq!(of(Some("second")), (vec!["Snapshots/{bb}.vdi".to_owned()], 0, true));
        assert_eq!(of(Some("S2")).0, ["Snapshots/{bb}.vdi"]);
        assert!(!of(Some("none")).2);
    }
}
