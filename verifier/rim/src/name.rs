//! NVIDIA's ids of manifests: `NV_GPU_DRIVER_GH100_550.144.03`,
//! `NV_GPU_VBIOS_1010_0200_882_96005E0001`, `NV_SWITCH_BIOS_5612_0002_890_9610550001`.
//!
//! A driver's follows from what is signed. Of a VBIOS's the board does not.

/// An id, and the board that it names: project, project SKU, chip SKU.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Name {
    pub(crate) id: String,
    pub(crate) board: [Option<String>; 3],
}

impl Name {
    /// Of a driver. A name that is an id must be that of this driver.
    pub(crate) fn of_driver(name: &str, chip: &str, version: &str) -> Result<Self, String> {
        let id = format!("NV_GPU_DRIVER_{chip}_{version}");
        match name.find("NV_").and_then(|at| name.get(at..)) {
            Some(given) if !given.starts_with(&id) => {
                Err(format!("is {id}, and its name says {given}"))
            }
            Some(_) | None => Ok(Self { id, board: [const { None }; 3] }),
        }
    }

    /// Of a VBIOS: its version without dots stands in the name, and the board before it.
    pub(crate) fn of_vbios(name: &str, chip: &str, version: &str) -> Result<Self, String> {
        let short = version.replace('.', "");
        let parts: Vec<&str> = name.split('_').collect();
        let found = parts.windows(4).find_map(|parts| match parts {
            [project, project_sku, chip_sku, found] if *found == short => {
                Some([project, project_sku, chip_sku])
            }
            _ => None,
        });
        let board = found.filter(|board| board.iter().all(|part| is_sku(part)));
        let Some([project, project_sku, chip_sku]) = board else {
            return Err(format!("is of VBIOS {version}, and {name:?} does not say of which board"));
        };
        let kind = if chip.starts_with("LS") { "NV_SWITCH_BIOS" } else { "NV_GPU_VBIOS" };
        if let Some(given) = name.find("NV_").and_then(|at| name.get(at..))
            && !given.starts_with(kind)
        {
            return Err(format!("is of {chip}, and its name says {given}"));
        }
        Ok(Self {
            id: format!("{kind}_{project}_{project_sku}_{chip_sku}_{short}"),
            board: [project, project_sku, chip_sku].map(|part| Some((*part).to_owned())),
        })
    }
}

fn is_sku(part: &str) -> bool {
    !part.is_empty() && part.len() <= 8 && part.bytes().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drivers_id_follows_from_what_is_signed() {
        let id = "NV_GPU_DRIVER_GH100_550.144.03";
        for name in [id, "anything", "", "rims__NV_GPU_DRIVER_GH100_550.144.03_copy"] {
            assert_eq!(Name::of_driver(name, "GH100", "550.144.03").unwrap().id, id, "{name}");
        }
        for name in ["NV_GPU_DRIVER_GH100_550.144.04", "NV_GPU_VBIOS_1010_0200_882_96005E0001"] {
            assert!(Name::of_driver(name, "GH100", "550.144.03").is_err(), "{name}");
        }
    }

    #[test]
    fn a_vbioss_board_is_in_its_name() {
        let version = "96.00.5E.00.01";
        for name in [
            "NV_GPU_VBIOS_1010_0200_882_96005E0001",
            "1010_0200_882_96005E0001_PROD",
            "rims__NV_GPU_VBIOS_1010_0200_882_96005E0001_copy",
        ] {
            let found = Name::of_vbios(name, "GH100", version).unwrap();
            assert_eq!(found.id, "NV_GPU_VBIOS_1010_0200_882_96005E0001", "{name}");
            assert_eq!(found.board, ["1010", "0200", "882"].map(|it| Some(it.to_owned())));
        }
        for name in [
            "",
            "96005E0001",
            "0200_882_96005E0001",
            "1010_0200_882_96005E0002",
            "1010_0200_882_96005e0001",
            "1010__882_96005E0001",
            "10-10_0200_882_96005E0001",
            "NV_SWITCH_BIOS_1010_0200_882_96005E0001",
        ] {
            assert!(Name::of_vbios(name, "GH100", version).is_err(), "{name}");
        }
        let switch =
            Name::of_vbios("NV_SWITCH_BIOS_5612_0002_890_9610550001", "LS10", "96.10.55.00.01");
        assert_eq!(switch.unwrap().id, "NV_SWITCH_BIOS_5612_0002_890_9610550001");
    }
}
