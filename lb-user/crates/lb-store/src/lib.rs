//! lb-store
