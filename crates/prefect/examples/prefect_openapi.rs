//! Writes docs/prefect-openapi.json: `cargo xtask openapi`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/prefect-openapi.json");
    let text = serde_json::to_string_pretty(&admit_prefect::document())? + "\n";
    std::fs::write(path, text)
}
