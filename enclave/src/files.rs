//! A model that another program serves: its files, verified by one digest.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use attestation::manifest::Weights;
use attestation::{Digest, ModelManifest, Sha256};
use ring::digest::{Context, SHA256};
use upstream::Kind;

use crate::config;
use crate::model::ModelError;

/// Files that hash to what the configuration names.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedFiles {
    sha256: Sha256,
    folder: bool,
}

impl VerifiedFiles {
    /// Reads the file, or all files of the folder, that the configuration names. A folder's digest is
    /// that of what `sha256sum` prints of its files, by name in the order of their octets.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`], also for what is no plain file; [`ModelError::OtherFiles`].
    pub fn read(model: &config::Model, folder: &Path) -> Result<Self, ModelError> {
        let path = model.file(folder);
        let unreadable =
            |error: io::Error| ModelError::Unreadable { path: path.clone(), kind: error.kind() };
        let is_folder = fs::symlink_metadata(&path).map_err(unreadable)?.is_dir();
        let actual = if is_folder { of_folder(&path) } else { of_file(&path) };
        let actual = actual.map_err(unreadable)?;
        if actual != model.sha256 {
            return Err(ModelError::OtherFiles { expected: model.sha256, actual });
        }
        Ok(Self { sha256: actual, folder: is_folder })
    }

    /// The manifest: tokenizer and template are among the files, and so is what vouches for them.
    pub fn manifest(&self, names: &[String], kind: Kind) -> ModelManifest {
        let format = if self.folder { "files" } else { "file" };
        ModelManifest {
            schema: 1,
            names: names.to_vec(),
            weights: Weights { format: format.to_owned(), sha256: self.sha256 },
            tokenizer_sha256: self.sha256,
            template_sha256: self.sha256,
            numeric_profile: format!("upstream-{}", kind.as_str()),
        }
    }
}

fn of_file(path: &Path) -> io::Result<Sha256> {
    // A link may point elsewhere tomorrow.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; PIECE_LEN];
    loop {
        let len = file.read(&mut piece)?;
        if len == 0 {
            return digest(context);
        }
        context.update(piece.get(..len).unwrap_or_default());
    }
}

fn of_folder(root: &Path) -> io::Result<Sha256> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                let name = path.strip_prefix(root).ok().and_then(Path::to_str);
                let name = name.filter(|name| !name.contains(['\n', '\r', '\\']));
                let name = name.ok_or(io::ErrorKind::InvalidInput)?.to_owned();
                files.push((name, path));
            }
            if files.len().saturating_add(folders.len()) > FILES_MAX {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    files.sort_unstable();
    let mut context = Context::new(&SHA256);
    for (name, path) in &files {
        context.update(format!("{}  {name}\n", of_file(path)?).as_bytes());
    }
    digest(context)
}

fn digest(context: Context) -> io::Result<Sha256> {
    let digest = context.finish();
    digest.as_ref().try_into().map(Digest).map_err(|_| io::ErrorKind::Other.into())
}

/// Octets that are read at once.
const PIECE_LEN: usize = 1 << 20;
/// Files of a model.
const FILES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_the_digest_of_what_sha256sum_prints() {
        let root = std::env::temp_dir().join(format!("veritee-files-{}", std::process::id()));
        fs::create_dir_all(root.join("b")).unwrap();
        fs::write(root.join("b/x"), "1").unwrap();
        fs::write(root.join("a"), "2").unwrap();
        let line = |name: &str, text: &str| format!("{}  {name}\n", Sha256::of(text.as_bytes()));
        let expected = Sha256::of(format!("{}{}", line("a", "2"), line("b/x", "1")).as_bytes());
        let mut model = config::Model { path: root.clone(), sha256: expected, names: vec![] };
        assert!(VerifiedFiles::read(&model, Path::new("")).is_ok());
        model.sha256 = Digest([0; 32]);
        let refused = VerifiedFiles::read(&model, Path::new("")).unwrap_err();
        assert_eq!(refused.code(), "model-other-files");
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        model.sha256 = expected;
        let refused = VerifiedFiles::read(&model, Path::new("")).unwrap_err();
        assert_eq!(refused.code(), "model-unreadable");
        fs::remove_dir_all(root).unwrap();
    }
}
