//! Ciphers by the names that the device-mapper gives them: `aes-xts-plain64`.
//!
//! Source: Documentation/admin-guide/device-mapper/dm-crypt.rst of Linux: `cipher-mode-iv[:options]`.
//! Read are `aes`, `serpent`, `twofish` and `camellia`, in the modes `xts` and `cbc`, with the
//! initialization vectors of `iv`.

use std::sync::Arc;

use aes::{Aes128, Aes192, Aes256};
use camellia::{Camellia128, Camellia192, Camellia256};
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use serpent::Serpent;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use twofish::Twofish;
use volfold_block::{BlockError, BlockResult};
use zeroize::Zeroizing;

use super::cbc::Cbc;
use super::iv::Iv;
use super::xts::Xts;
use super::{SectorCipher, Sectors, shown};

/// A block cipher by its name and the length of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Aes128,
    Aes192,
    Aes256,
    Serpent,
    Twofish,
    Camellia128,
    Camellia192,
    Camellia256,
}

impl Algorithm {
    /// The algorithm `name` with a key of `length` bytes.
    fn of(name: &str, length: usize) -> Option<Self> {
        Some(match (name, length) {
            ("aes", 16) => Self::Aes128,
            ("aes", 24) => Self::Aes192,
            ("aes", 32) => Self::Aes256,
            ("serpent", 16 | 24 | 32) => Self::Serpent,
            ("twofish", 16 | 24 | 32) => Self::Twofish,
            ("camellia", 16) => Self::Camellia128,
            ("camellia", 24) => Self::Camellia192,
            ("camellia", 32) => Self::Camellia256,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Xts,
    Cbc,
}

/// The initialization vector of [`Iv`], before the key is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IvName {
    Plain,
    Plain64,
    Plain64Be,
    Null,
    Essiv(EssivHash),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EssivHash {
    Sha1,
    Sha256,
    Sha512,
}

/// A cipher that is read, and the length of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedCipher {
    algorithm: Algorithm,
    mode: Mode,
    iv: IvName,
    /// In bytes; of both halves for XTS.
    key_length: usize,
}

impl NamedCipher {
    /// The cipher `name`, as `aes-xts-plain64`, with keys of `key_length` bytes.
    ///
    /// # Errors
    /// `Unsupported` if it is not read, by its name.
    pub fn parse(name: &str, key_length: usize) -> BlockResult<Self> {
        let unread = || {
            let shown = shown(name);
            let bits = key_length.saturating_mul(8);
            BlockError::unsupported(format!("cipher {shown} with a key of {bits} bits is not read"))
        };
        let mut parts = name.splitn(3, '-');
        let (Some(algorithm), Some(mode), Some(iv)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(unread());
        };
        let (mode, length) = match mode {
            "xts" if key_length.is_multiple_of(2) => (Mode::Xts, key_length.div_euclid(2)),
            "cbc" => (Mode::Cbc, key_length),
            _ => return Err(unread()),
        };
        let iv = match iv {
            "plain" => IvName::Plain,
            "plain64" => IvName::Plain64,
            "plain64be" => IvName::Plain64Be,
            "null" => IvName::Null,
            "essiv:sha1" => IvName::Essiv(EssivHash::Sha1),
            "essiv:sha256" => IvName::Essiv(EssivHash::Sha256),
            "essiv:sha512" => IvName::Essiv(EssivHash::Sha512),
            _ => return Err(unread()),
        };
        let read = Algorithm::of(algorithm, length).ok_or_else(unread)?;
        if let IvName::Essiv(hash) = iv {
            // The cipher has to take the hash as a key.
            Algorithm::of(algorithm, hash.length()).ok_or_else(unread)?;
        }
        Ok(Self { algorithm: read, mode, iv, key_length })
    }

    /// The bytes of its key.
    pub fn key_length(self) -> usize {
        self.key_length
    }

    /// The cipher with `key`, for `sectors`.
    ///
    /// # Errors
    /// `Internal` if the key has another length than that of the cipher.
    pub fn with_key(self, key: &[u8], sectors: Sectors) -> BlockResult<Arc<dyn SectorCipher>> {
        let made = match self.algorithm {
            Algorithm::Aes128 => self.made::<Aes128>(key, sectors),
            Algorithm::Aes192 => self.made::<Aes192>(key, sectors),
            Algorithm::Aes256 => self.made::<Aes256>(key, sectors),
            Algorithm::Serpent => self.made::<Serpent>(key, sectors),
            Algorithm::Twofish => self.made::<Twofish>(key, sectors),
            Algorithm::Camellia128 => self.made::<Camellia128>(key, sectors),
            Algorithm::Camellia192 => self.made::<Camellia192>(key, sectors),
            Algorithm::Camellia256 => self.made::<Camellia256>(key, sectors),
        };
        made.ok_or_else(|| {
            BlockError::unsupported("the key has another length than that of its cipher")
        })
    }

    fn made<C>(self, key: &[u8], sectors: Sectors) -> Option<Arc<dyn SectorCipher>>
    where
        C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt,
        C: BlockSizeUser<BlockSize = U16> + Send + Sync + 'static,
    {
        if key.len() != self.key_length {
            return None;
        }
        match self.mode {
            Mode::Xts => {
                let (data, tweak) = key.split_at_checked(key.len().div_euclid(2))?;
                let (data_cipher, tweak) = (C::new_from_slice(data), C::new_from_slice(tweak));
                let iv = self.iv.made(self.algorithm, key)?;
                let (data, tweak) = (data_cipher.ok()?, tweak.ok()?);
                Some(Arc::new(Xts { data, tweak, iv, sectors }))
            }
            Mode::Cbc => {
                let iv = self.iv.made(self.algorithm, key)?;
                Some(Arc::new(Cbc { data: C::new_from_slice(key).ok()?, iv, sectors }))
            }
        }
    }
}

impl EssivHash {
    /// In bytes.
    fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn of(self, key: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Sha1 => Sha1::digest(key).to_vec(),
            Self::Sha256 => Sha256::digest(key).to_vec(),
            Self::Sha512 => Sha512::digest(key).to_vec(),
        })
    }
}

impl IvName {
    fn made(self, algorithm: Algorithm, key: &[u8]) -> Option<Iv> {
        Some(match self {
            Self::Plain => Iv::Plain,
            Self::Plain64 => Iv::Plain64,
            Self::Plain64Be => Iv::Plain64Be,
            Self::Null => Iv::Null,
            Self::Essiv(hash) => {
                let key = hash.of(key);
                match algorithm {
                    Algorithm::Aes128 | Algorithm::Aes192 | Algorithm::Aes256 => {
                        essiv::<Aes256>(&key)?
                    }
                    Algorithm::Serpent => essiv::<Serpent>(&key)?,
                    Algorithm::Twofish => essiv::<Twofish>(&key)?,
                    Algorithm::Camellia128 | Algorithm::Camellia192 | Algorithm::Camellia256 => {
                        essiv::<Camellia256>(&key)?
                    }
                }
            }
        })
    }
}

fn essiv<C>(key: &[u8]) -> Option<Iv>
where
    C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync + 'static,
{
    let cipher = C::new_from_slice(key).ok()?;
    Some(Iv::Essiv(Box::new(move |blocks| cipher.encrypt_blocks(blocks))))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER_PERMISSIVE as HEX;

    use super::*;

    fn decrypted(name: &str, key: &str, first: u64, text: &str) -> String {
        let key = HEX.decode(key.as_bytes()).unwrap();
        let mut sector = HEX.decode(text.as_bytes()).unwrap();
        sector.resize(512, 0);
        let cipher = NamedCipher::parse(name, key.len()).unwrap();
        let sectors = Sectors::in_512(512).unwrap();
        cipher.with_key(&key, sectors).unwrap().decrypt(first, &mut sector);
        HEX.encode(&sector[..text.len() / 2])
    }

    #[test]
    fn the_vectors_of_ieee_1619_are_decrypted() {
        let zeros = "00".repeat(32);
        let cipher = "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e";
        assert_eq!(decrypted("aes-xts-plain64", &zeros, 0, cipher), zeros);
        let key = format!("{}{}", "11".repeat(16), "22".repeat(16));
        let cipher = "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0";
        let number = 0x33_3333_3333;
        assert_eq!(decrypted("aes-xts-plain64", &key, number, cipher), "44".repeat(32));
    }

    #[test]
    fn the_vector_of_sp_800_38a_is_decrypted_by_cbc() {
        // F.2.1, with the vector mixed into the first block, for here it is zeros.
        let key = "2b7e151628aed2a6abf7158809cf4f3c";
        let cipher = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2";
        let plain = "6bc0bce12a459991e134741a7f9e1925ae2d8a571e03ac9c9eb76fac45af8e51";
        let mixed = decrypted("aes-cbc-null", key, 0, cipher);
        let first = HEX.decode(&mixed.as_bytes()[..32]).unwrap();
        let first: Vec<u8> = first.iter().zip(0_u8..).map(|(byte, at)| byte ^ at).collect();
        let plain_first = "6bc1bee22e409f96e93d7e117393172a";
        assert_eq!(HEX.encode(&first), plain_first);
        assert_eq!(mixed[..32], plain[..32]);
        assert_eq!(mixed[32..], plain[32..]);
    }

    /// By OpenSSL 3: the bytes from 100 on, in the sector 0x1_0000_0005 with the key 00, 01, 02 ...
    #[test]
    fn what_openssl_encrypted_is_decrypted() {
        let plain: Vec<u8> = (100..132).collect();
        let key: Vec<u8> = (0..32).collect();
        let both: Vec<u8> = (0..32).chain((0..32).rev()).collect();
        for (name, key, cipher) in [
            (
                "aes-cbc-plain",
                &key[..],
                "5d57ad70f8bce9ab4a59fd69783ed35bf80b3b029732892cb799c792e0652f68",
            ),
            (
                "aes-cbc-plain64",
                &key,
                "ab4d0ae7ce32ceb3065d11969bed8098180f7851f55137a969939ed307f756a0",
            ),
            (
                "aes-cbc-plain64be",
                &key,
                "79ec4ee5fba4ec46ac25139f1701e527742148609c8ad6bc51eb61e116e2c52d",
            ),
            (
                "aes-cbc-essiv:sha256",
                &key,
                "0a69a32dccfd764cefc9fd07ebc8c8109373c2ab668b039b1b73398d953b182a",
            ),
            (
                "aes-cbc-plain64",
                &key[..24],
                "a49954adbe9440a9835919632d3c600dace601f6898668b2732490f98178d154",
            ),
            (
                "aes-xts-plain64",
                &both,
                "794cd3f3719c345eb5b0cf97d77b8f45bea9aedd3b8935f58e1117fe12309714",
            ),
            (
                "camellia-cbc-plain64",
                &key[..16],
                "da2f1e8d6a2ef07582f6fff20eed2201b3c0a3fbd39c0c66da001bc45d8200eb",
            ),
            (
                "camellia-cbc-plain64",
                &key[..24],
                "25fc91b328404fe73e3a0814dc1b04656cc7000cd42e5c43bbf7bbdcaa3d8b2a",
            ),
            (
                "camellia-cbc-plain64",
                &key,
                "68f3556b1c35419f1cd9fa2bdcf4496fbc134ec3e417def56c258b888dcc7f01",
            ),
            (
                "camellia-cbc-essiv:sha256",
                &key,
                "accf0fcf351d83a37bce25aae4685283e315691d23b5c119d07c9edb5233df28",
            ),
        ] {
            let found = decrypted(name, &HEX.encode(key), 0x1_0000_0005, cipher);
            assert_eq!(found, HEX.encode(&plain), "{name}");
        }
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (name, length) in [
            ("aes-xts-plain64", 31),
            ("aes-xts-plain64", 16),
            ("aes-lrw-benbi", 48),
            ("aes-cbc-essiv:md5", 32),
            ("aes-cbc-essiv:sha1", 32),
            ("aes", 32),
            ("cipher_null-ecb", 0),
            ("xchacha20,aes-adiantum-plain64", 32),
            ("\u{1b}[31m-xts-plain64", 32),
        ] {
            let error = NamedCipher::parse(name, length).unwrap_err();
            let bits = length * 8;
            let shown = name.replace('\u{1b}', "?");
            let line = format!("cipher {shown} with a key of {bits} bits is not read");
            assert_eq!(error.message(), line);
        }
    }
}
