//! The option `--key`: where a key is, and for which volume; never the key itself.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use volfold::volume::lock::KeyKind;

/// What is said to anything else; what was given is not repeated, for it may be a key.
const WRONG: &str = "--key says where a key is, not the key itself, which other users of the machine \
                     could read there: give file:PATH, env:NAME, prompt or fd:NUMBER, with VOLUME= \
                     before it for a key of one volume";

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyPlace {
    File(PathBuf),
    Env(String),
    Prompt,
    Fd(u32),
}

impl KeyPlace {
    fn parse(text: &str) -> Option<Self> {
        if text == "prompt" {
            return Some(Self::Prompt);
        }
        let (kind, value) = text.split_once(':').filter(|(_, value)| !value.is_empty())?;
        Some(match kind {
            "file" => Self::File(value.into()),
            "env" => Self::Env(value.to_owned()),
            "fd" => Self::Fd(value.parse().ok()?),
            _ => return None,
        })
    }

    /// Whether another process cannot read it.
    pub(crate) fn is_only_here(&self) -> bool {
        matches!(self, Self::Prompt | Self::Fd(_))
    }

    /// Whether a key of `kind` may be there; nobody types a key file.
    pub(crate) fn may_hold(&self, kind: KeyKind) -> bool {
        kind != KeyKind::KeyFile || matches!(self, Self::File(_) | Self::Fd(_))
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Prompt => write!(f, "prompt"),
            Self::Fd(number) => write!(f, "fd:{number}"),
        }
    }
}

/// A value of `--key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyArgument {
    /// The id or name of the volume; `None` for every locked one.
    pub(crate) volume: Option<String>,
    pub(crate) place: KeyPlace,
}

impl fmt::Display for KeyArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.volume {
            Some(volume) => write!(f, "{volume}={}", self.place),
            None => self.place.fmt(f),
        }
    }
}

impl KeyArgument {
    /// `[VOLUME=]PLACE`; paths and names of volumes may have `=` and `:` in them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(place) = KeyPlace::parse(text) {
            return Some(Self { volume: None, place });
        }
        let split = |(at, _)| {
            let (volume, place) = (text.get(..at)?, text.get(at..)?.strip_prefix('=')?);
            let volume = Some(volume.to_owned()).filter(|volume| !volume.is_empty());
            Some(Self { volume: Some(volume?), place: KeyPlace::parse(place)? })
        };
        text.match_indices('=').find_map(split)
    }

    /// Whether it is tried on the volume `id`, called `name`.
    pub(crate) fn is_for(&self, id: &str, name: &str) -> bool {
        let Some(volume) = self.volume.as_deref().map(str::to_lowercase) else { return true };
        [id, name].iter().any(|own| own.to_lowercase() == volume)
    }
}

/// Parses `--key`, and repeats nothing of what it does not understand.
#[derive(Clone)]
pub(crate) struct KeyParser;

impl TypedValueParser for KeyParser {
    type Value = KeyArgument;

    fn parse_ref(
        &self,
        command: &Command,
        _argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<KeyArgument, Error> {
        let parsed = value.to_str().and_then(KeyArgument::parse);
        parsed.ok_or_else(|| {
            Error::raw(ErrorKind::ValueValidation, format!("{WRONG}\n")).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_place() {
        let parsed = |text| {
            let argument = KeyArgument::parse(text)?;
            Some((argument.volume, argument.place.to_string()))
        };
        let all = |place: &str| Some((None, place.to_owned()));
        let one = |volume: &str, place: &str| Some((Some(volume.to_owned()), place.to_owned()));
        assert_eq!(parsed("file:/a=b:c"), all("file:/a=b:c"));
        assert_eq!(parsed("env:KEY"), all("env:KEY"));
        assert_eq!(parsed("fd:3"), all("fd:3"));
        assert_eq!(parsed("prompt"), all("prompt"));
        assert_eq!(parsed("luks:1-2=file:k"), one("luks:1-2", "file:k"));
        assert_eq!(parsed("a=b=prompt"), one("a=b", "prompt"));
        for wrong in ["secret", "", "=prompt", "file:", "fd:x", "v=secret", "pass:secret", "stdin"]
        {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_in_clear_is_refused_and_not_repeated() {
        let command = Command::new("volfold");
        let error = KeyParser.parse_ref(&command, None, "S3cret".as_ref()).unwrap_err().to_string();
        assert!(error.contains("not the key itself") && !error.contains("S3cret"), "{error}");
    }
}
