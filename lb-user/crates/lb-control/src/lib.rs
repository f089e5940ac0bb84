//! lb-control
