//! How sure a reader is that bytes are its own.

/// How sure a format, scheme or driver is that bytes are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Not this format.
    No,
    /// Anything can be read this way: taken if nothing else fits.
    Fallback,
    /// Something points to it, without a signature.
    Likely,
    /// The signature is there.
    Certain,
}

/// The candidate that is surest, the first of equals, and how sure it is; `None` if all say
/// [`Confidence::No`].
///
/// # Errors
/// The first error of `probe`.
pub fn surest<T: Copy, E>(
    candidates: &[T],
    probe: impl Fn(T) -> Result<Confidence, E>,
) -> Result<Option<(Confidence, T)>, E> {
    let mut best: Option<(Confidence, T)> = None;
    for candidate in candidates {
        let confidence = probe(*candidate)?;
        if confidence > best.map_or(Confidence::No, |(confidence, _)| confidence) {
            best = Some((confidence, *candidate));
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_surest_is_taken() {
        use Confidence::{Certain, Fallback, Likely, No};
        let find = |all: &[Confidence]| {
            let numbered: Vec<_> = all.iter().copied().enumerate().collect();
            surest(&numbered, |(_, confidence)| Ok::<_, ()>(confidence)).unwrap()
        };
        assert_eq!(find(&[No, Fallback, Certain, Likely, Certain]), Some((Certain, (2, Certain))));
        assert_eq!(find(&[No, No]), None);
    }

    #[test]
    fn a_failed_look_is_an_error() {
        assert_eq!(surest(&[1], |_| Err("unreadable")), Err("unreadable"));
    }
}
