//! Writes docs/openapi.json: `cargo xtask openapi`.

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    std::fs::write(path, admit_api::openapi_json())
}
