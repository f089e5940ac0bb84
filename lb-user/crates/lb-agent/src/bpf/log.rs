//! The kernel programs' own lines, when they were built with the feature `log` (lb-ebpf/README.md):
//! one a packet, for a person who debugs. The programs that are shipped have none.

use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use super::Datapath;

impl Datapath {
    /// Passes the lines on to this process's log, for ever; returns at once when there are none.
    ///
    /// # Errors
    /// When the buffer they come through cannot be watched.
    pub async fn tell_log_lines(&self) -> std::io::Result<()> {
        let Ok(logger) = EbpfLogger::init(&mut self.programs()) else {
            return Ok(());
        };
        #[expect(
            deprecated,
            reason = "its successor is unsafe for descriptors that change or close; a logger owns its own"
        )]
        let mut logger = AsyncFd::new(logger)?;
        loop {
            let mut ready = logger.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
