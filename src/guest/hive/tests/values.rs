//! Values of all kinds.

use super::*;

fn value_of(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut tree = Tree::default();
    tree.value("K", "V", kind, data);
    tree.build()
}

fn with_value<T>(bytes: &[u8], read: impl FnOnce(Value<'_>) -> FsResult<T>) -> FsResult<T> {
    let hive = open(bytes);
    read(hive.key("K")?.unwrap().value("V")?.unwrap())
}

fn text(kind: u32, data: &[u8]) -> FsResult<String> {
    with_value(&value_of(kind, data), |value| value.text())
}

fn texts(kind: u32, data: &[u8]) -> Vec<String> {
    with_value(&value_of(kind, data), |value| value.texts()).unwrap()
}

#[test]
fn text_may_lack_its_end_or_have_an_odd_one() {
    let abc = sz("abc\u{20ac}");
    assert_eq!(text(1, &abc).unwrap(), "abc\u{20ac}");
    assert_eq!(text(2, &abc[..abc.len() - 2]).unwrap(), "abc\u{20ac}");
    assert_eq!(text(6, &abc[..abc.len() - 1]).unwrap(), "abc\u{20ac}");
    assert_eq!(text(1, &[&abc[..], b"x"].concat()).unwrap(), "abc\u{20ac}");
    assert_eq!(text(1, &[&abc[..], &sz("rest")].concat()).unwrap(), "abc\u{20ac}");
    assert_eq!(text(1, &[]).unwrap(), "");
    let error = text(1, &[b'a', 0, b'b']).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Corrupt);
    assert_eq!(error.message(), r"key K: value V: text has an odd length");
    let error = text(1, &[0x00, 0xD8, b'b', 0]).unwrap_err();
    assert!(error.message().ends_with("text is not UTF-16"), "{error}");
    assert!(text(3, &abc).unwrap_err().message().contains("REG_BINARY"));
}

#[test]
fn several_texts_end_at_an_empty_one() {
    let two = [sz("a"), sz("bc"), sz("")].concat();
    assert_eq!(texts(7, &two), ["a", "bc"]);
    assert_eq!(texts(7, &two[..two.len() - 2]), ["a", "bc"]);
    assert_eq!(texts(7, &two[..two.len() - 4]), ["a", "bc"]);
    assert_eq!(texts(7, &[two, sz("after")].concat()), ["a", "bc"]);
    assert_eq!(texts(7, &[]), [""; 0]);
    assert_eq!(texts(1, &sz("one")), ["one"]);
}

#[test]
fn numbers_have_the_length_of_their_kind() {
    let number = |kind, data: &[u8]| with_value(&value_of(kind, data), |value| value.number());
    assert_eq!(number(4, &[1, 2, 0, 0]).unwrap(), 0x201);
    assert_eq!(number(5, &[0, 0, 2, 1]).unwrap(), 0x201);
    assert_eq!(number(11, &[1, 0, 0, 0, 0, 0, 0, 1]).unwrap(), (1 << 56) + 1);
    assert_eq!(number(4, &[1, 0]).unwrap_err().kind(), FsErrorKind::Corrupt);
    assert_eq!(number(11, &[1, 0, 0, 0]).unwrap_err().kind(), FsErrorKind::Corrupt);
    assert!(number(1, &sz("1")).unwrap_err().message().contains("REG_SZ"));
}

#[test]
fn a_link_says_where_it_leads_and_is_not_followed() {
    let mut root = Tree::default();
    let target: Vec<u8> = r"\Registry\Machine\System\ControlSet001"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    root.value("CurrentControlSet", "SymbolicLinkValue", 6, &target);
    root.at("CurrentControlSet").flags = 0x10;
    root.at("Broken").flags = 0x10;
    let bytes = root.build();
    let hive = open(&bytes);
    let link = hive.key("CurrentControlSet").unwrap().unwrap();
    assert!(link.is_link());
    let expected = r"\Registry\Machine\System\ControlSet001";
    assert_eq!(link.link_target().unwrap().as_deref(), Some(expected));
    assert_eq!(hive.root().unwrap().link_target().unwrap(), None);
    let error = hive.key(r"CurrentControlSet\Control").err().unwrap();
    assert_eq!(error.kind(), FsErrorKind::Unsupported);
    assert!(error.message().contains(expected), "{error}");
    let broken = hive.key("Broken").unwrap().unwrap();
    assert_eq!(broken.link_target().unwrap_err().kind(), FsErrorKind::Corrupt);
}

#[test]
fn a_predefined_handle_has_no_values_and_a_tombstone_is_no_value() {
    let mut root = Tree::default();
    root.at("009").flags = 0x40;
    root.value("K", "Gone", 0, &[]);
    let mut bytes = root.build();
    let key = bytes.windows(4).position(|window| window[..] == *b"nk\x60\0").unwrap();
    bytes[key + 0x24..key + 0x28].copy_from_slice(&0x8000_0060_u32.to_le_bytes());
    let value = bytes.windows(2).position(|window| window == b"vk").unwrap();
    bytes[value + 0x10] |= 2;
    let hive = open(&bytes);
    let handle = hive.key("009").unwrap().unwrap();
    assert!(handle.is_predefined_handle() && handle.value_count() == 0);
    assert_eq!(handle.values().count(), 0);
    let key = hive.key("K").unwrap().unwrap();
    assert!(key.values().next().unwrap().unwrap().is_tombstone());
    assert!(key.value("gone").unwrap().is_none());
}

#[test]
fn data_in_segments_has_as_many_as_it_needs() {
    let bytes = value_of(3, &[7; 40_000]);
    let record = bytes.windows(4).position(|window| window == b"db\x03\0").unwrap();
    for (field, byte, message) in [
        (0, b'x', "record of large data has a wrong signature"),
        (2, 2, "large data has another number of segments than it needs"),
        (4, 1, "cell has an odd place"),
    ] {
        let mut bytes = bytes.clone();
        bytes[record + field] = byte;
        let error = with_value(&bytes, |value| value.data()).unwrap_err();
        assert_eq!(error.message(), format!("key K: value V: {message}"));
    }
    assert_eq!(with_value(&bytes, |value| value.data()).unwrap(), [7; 40_000]);
}
