//! What POSIX keeps of an entry in a record before its header: the crate takes text alone for names, and names of
//! attributes are bytes.

use tar::{EntryType, Header};

/// The records of one entry.
#[derive(Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    /// Adds `LENGTH KEY=VALUE` and a line feed, all of which the length counts.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + b" =\n".len();
        let mut length = rest + 1;
        while rest + length.to_string().len() > length {
            length = rest + length.to_string().len();
        }
        self.0.extend(format!("{length} ").into_bytes());
        for part in [key, b"=", value, b"\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// Adds an extended attribute. As GNU tar does, `=` and `%` in its name become `%3D` and `%25`.
    #[cfg(unix)]
    pub(super) fn add_attribute(&mut self, name: &[u8], value: &[u8]) {
        let mut key = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match byte {
                b'=' => key.extend_from_slice(b"%3D"),
                b'%' => key.extend_from_slice(b"%25"),
                byte => key.push(*byte),
            }
        }
        self.add(&key, value);
    }

    /// The header of the records, and they themselves.
    pub(super) fn finish(self) -> (Header, Vec<u8>) {
        let mut header = Header::new_ustar();
        header.set_size(self.0.len() as u64);
        header.set_entry_type(EntryType::XHeader);
        header.set_cksum();
        (header, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_counts_its_own_digits() {
        for length in [0, 1, 80, 90, 91, 92, 93, 94, 980, 990, 991, 992, 993] {
            let mut records = Records::default();
            records.add(b"key", &vec![b'x'; length]);
            let text = String::from_utf8(records.0).unwrap();
            let (digits, _) = text.split_once(' ').unwrap();
            assert_eq!(digits.parse::<usize>().unwrap(), text.len());
        }
    }
}
