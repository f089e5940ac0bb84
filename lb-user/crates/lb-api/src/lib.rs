//! lb-api
