//! What every binary of this crate ends with.

/// The panic handler of the kernel's side, and the host's `main`.
macro_rules! binary {
    () => {
        /// Left in a program, this does not load: the verifier refuses an endless loop.
        #[cfg(target_arch = "bpf")]
        #[panic_handler]
        fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }

        /// On the host these are only checked (clippy), never run.
        #[cfg(not(target_arch = "bpf"))]
        fn main() {}
    };
}

pub(crate) use binary;
