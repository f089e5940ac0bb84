//! What functions with external linkage are given: the verifier looks at each on its own, so every
//! pointer may be null there.

/// Turns pointers of the caller's into references of the same names; returns `$bad` when one is null.
macro_rules! given {
    ($bad:expr; $($pointer:ident),+) => {
        if $($pointer.is_null())||+ {
            return $bad;
        }
        $(
            // SAFETY: not null; the caller's, which outlives the call.
            let $pointer = unsafe { &*$pointer };
        )+
    };
}

pub(crate) use given;
