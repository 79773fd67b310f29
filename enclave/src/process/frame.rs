//! What the server and its engine's process say to each other: a length (four octets, little
//! endian), and as many octets of JSON.

use std::io;

use engine::{
    Completion, Embedding, EngineError, EngineOptions, GenerationEvent, LoadError,
    ModelDescription, Pulse, Request,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

/// Which generation is spoken of; the server counts them.
pub(super) type Id = u64;

/// What the server says.
#[derive(Deserialize, Serialize)]
pub(super) enum Order {
    /// Read the model, if it is this one; comes first, and once.
    Load {
        sha256: [u8; 32],
        options: EngineOptions,
    },
    Start(Id, Request),
    Complete(Id, Completion),
    Embed(Id, Embedding),
    /// Nobody waits for this one any more.
    Cancel(Id),
    /// Say how far you are.
    Pulse,
}

/// What the engine's process says.
#[derive(Deserialize, Serialize)]
pub(super) enum News {
    /// So many octets of the model were read, of so many.
    Loading(u64, u64),
    /// The model is loaded; whether all memory is locked.
    Ready(ModelDescription, bool),
    /// There will be no engine.
    Unfit(Unfit),
    /// A generation was taken on; its prompt has so many tokens.
    Started(Id, u32),
    /// It was not.
    Refused(Id, EngineError),
    Event(Id, GenerationEvent),
    /// How far it is.
    Pulse(Pulse),
}

/// Why there is no engine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Unfit {
    /// The model's file cannot be read: the system's number for the reason.
    Unreadable(Option<i32>),
    /// It is larger than memory.
    TooLarge(u64),
    /// The engine refuses the model.
    Refused(LoadError),
    /// The process could not give up what it must not have.
    Open,
}

/// Writes a frame.
pub(super) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &T,
) -> io::Result<()> {
    to.write_all(&encode(frame)?).await
}

/// Reads a frame. None: the other end is gone.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > LEN_MAX {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut json = Zeroizing::new(vec![0; len]);
    from.read_exact(&mut json).await?;
    serde_json::from_slice(&json).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The octets of a frame.
fn encode<T: Serialize>(frame: &T) -> io::Result<Zeroizing<Vec<u8>>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    // What grows leaves copies behind; the allocator of the program wipes them.
    let mut octets = Zeroizing::new(Vec::with_capacity(LEN_USUAL));
    octets.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *octets, frame)?;
    let len = octets.len().checked_sub(4).filter(|len| *len <= LEN_MAX).ok_or_else(invalid)?;
    let len = u32::try_from(len).map_err(|_| invalid())?;
    octets.get_mut(..4).ok_or_else(invalid)?.copy_from_slice(&len.to_le_bytes());
    Ok(octets)
}

/// Octets of most frames: a piece of an answer.
const LEN_USUAL: usize = 256;
/// Octets of a frame: a request's plaintext has at most 16 MiB, and JSON may escape each octet.
const LEN_MAX: usize = 128 << 20;

#[cfg(test)]
mod tests {
    use attestation::Secret;

    use super::*;

    #[tokio::test]
    async fn a_frame_comes_out_as_it_went_in() {
        let event =
            GenerationEvent::Delta(Secret::new("a \"word\" \u{1f980}\0".to_owned()), 3, vec![]);
        let mut octets = Vec::new();
        write(&mut octets, &News::Event(7, event)).await.unwrap();
        let mut from = octets.as_slice();
        let Some(News::Event(7, GenerationEvent::Delta(text, 3, none))) =
            read(&mut from).await.unwrap()
        else {
            panic!("another frame");
        };
        assert_eq!(text.expose(), "a \"word\" \u{1f980}\0");
        assert!(none.is_empty());
        assert!(read::<News>(&mut from).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_that_is_none_is_refused() {
        let too_long = u32::try_from(LEN_MAX + 1).unwrap().to_le_bytes();
        for octets in [&too_long[..], &[2, 0, 0, 0, b'{', b'}'], &[9, 0, 0, 0, b'{']] {
            assert!(read::<News>(&mut &*octets).await.is_err(), "{octets:?}");
        }
    }
}
