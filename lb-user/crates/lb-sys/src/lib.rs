//! lb-sys
