//! Follows a chunked body byte by byte and refuses what has more than one meaning.

use super::head::{Refusal, is_token_byte, is_value_byte};

/// Bytes of all extensions and trailers of one body.
const EXTRA_BYTES_MAX: usize = 16 << 10;

/// Hexadecimal digits of a chunk size: what fits 60 bits.
const SIZE_DIGITS_MAX: u8 = 15;

/// Where in a chunked body the stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunked {
    at: At,
    /// Extension and trailer bytes so far.
    extra: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunked {
    /// Takes bytes of the body from the start of `bytes`; says how many belong to it and whether it
    /// has ended there. A refusal says how many were fine before it.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, Refusal)> {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if let At::Data { left } = self.at {
                let here = u64::try_from(bytes.len() - taken).unwrap_or(u64::MAX);
                let data = left.min(here);
                taken += usize::try_from(data).unwrap_or(usize::MAX);
                self.at = if data == left {
                    At::DataCr
                } else {
                    At::Data { left: left - data }
                };
                continue;
            }
            self.at = self.step(byte).map_err(|refusal| (taken, refusal))?;
            taken += 1;
            if self.at == At::End {
                return Ok((taken, true));
            }
        }
        Ok((taken, false))
    }

    fn step(&mut self, byte: u8) -> Result<At, Refusal> {
        let next = match (self.at, byte) {
            (At::Size { digits, size }, byte)
                if digits < SIZE_DIGITS_MAX && byte.is_ascii_hexdigit() =>
            {
                At::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(hex(byte)),
                }
            }
            (At::Size { digits: 1.., size }, b'\r') => At::SizeLf { size },
            (At::Size { digits: 1.., size }, b';') => At::Extension { size },
            (At::Extension { size }, b'\r') => At::SizeLf { size },
            (At::Extension { size }, byte) if is_value_byte(byte) => {
                self.count()?;
                At::Extension { size }
            }
            (At::SizeLf { size: 0 }, b'\n') => At::TrailerStart,
            (At::SizeLf { size }, b'\n') => At::Data { left: size },
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::default(),
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::TrailerStart | At::TrailerName, byte) if is_token_byte(byte) => {
                self.count()?;
                At::TrailerName
            }
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLf,
            (At::TrailerValue, byte) if is_value_byte(byte) => {
                self.count()?;
                At::TrailerValue
            }
            (At::TrailerLf, b'\n') => At::TrailerStart,
            (At::EndLf, b'\n') => At::End,
            _ => return Err(Refusal::Malformed),
        };
        Ok(next)
    }

    fn count(&mut self) -> Result<(), Refusal> {
        self.extra += 1;
        if self.extra > EXTRA_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        Ok(())
    }
}

const fn hex(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_end_where_they_end_however_they_are_cut() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A;x=\"y z\"\r\n0123456789\r\n000\r\n\r\n",
            "1\r\nx\r\n0\r\nTrailer: yes\r\nB:\r\n\r\n",
        ] {
            let stream = format!("{body}GET /");
            for cut in 0..=stream.len() {
                let mut chunked = Chunked::default();
                let (first, done) = chunked.advance(&stream.as_bytes()[..cut]).expect("fine");
                let total = if done {
                    first
                } else {
                    assert_eq!(first, cut);
                    let rest = chunked.advance(&stream.as_bytes()[cut..]).expect("fine");
                    assert!(rest.1);
                    cut + rest.0
                };
                assert_eq!(total, body.len(), "{body:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn odd_chunks_are_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "0x1\r\na\r\n",
            "0_2e\r\n",
            "+1\r\na",
            "-1\r\n",
            " 1\r\na",
            "1 \r\na",
            "1\na\r\n",
            "1\r\nab",
            "1\r\na\n0\r\n\r\n",
            "ffffffffffffffff\r\n",
            "0\r\n bad: x\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nx: a\0\r\n",
            "0\r\nx: y\n\r\n",
            "1;a\nb\r\n",
            ";a\r\n",
        ] {
            let mut chunked = Chunked::default();
            let refusal = chunked
                .advance(body.as_bytes())
                .map_err(|(_, refusal)| refusal);
            assert_eq!(refusal, Err(Refusal::Malformed), "{body:?}");
        }
    }
}
