//! Numbers of the kernel's interface, as `linux/netfilter/nfnetlink.h` and
//! `linux/netfilter/nf_tables.h` have them.

/// The subsystem of nfnetlink, and the high byte of its messages' types.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: the family of the table.
pub(super) const INET: u8 = 1;
/// `NFNLGRP_NFTABLES`: the group that hears of all changes.
pub(super) const EVENTS: u32 = 7;

/// Types of messages: the subsystem and `enum nf_tables_msg_types`, or a frame of a batch.
pub(super) mod message {
    use super::SUBSYSTEM;

    pub(in super::super) const BATCH_BEGIN: u16 = 0x10;
    pub(in super::super) const BATCH_END: u16 = 0x11;
    pub(in super::super) const NEW_TABLE: u16 = SUBSYSTEM << 8;
    pub(in super::super) const GET_TABLE: u16 = NEW_TABLE + 1;
    pub(in super::super) const DELETE_TABLE: u16 = NEW_TABLE + 2;
    pub(in super::super) const NEW_CHAIN: u16 = NEW_TABLE + 3;
    pub(in super::super) const GET_CHAIN: u16 = NEW_TABLE + 4;
    pub(in super::super) const DELETE_CHAIN: u16 = NEW_TABLE + 5;
    pub(in super::super) const NEW_RULE: u16 = NEW_TABLE + 6;
    pub(in super::super) const GET_RULE: u16 = NEW_TABLE + 7;
    pub(in super::super) const DELETE_RULE: u16 = NEW_TABLE + 8;
    pub(in super::super) const NEW_SET: u16 = NEW_TABLE + 9;
    pub(in super::super) const GET_SET: u16 = NEW_TABLE + 10;
    pub(in super::super) const DELETE_SET: u16 = NEW_TABLE + 11;
    pub(in super::super) const NEW_ELEMENT: u16 = NEW_TABLE + 12;
    pub(in super::super) const GET_ELEMENT: u16 = NEW_TABLE + 13;
    pub(in super::super) const DELETE_ELEMENT: u16 = NEW_TABLE + 14;
    pub(in super::super) const NEW_GENERATION: u16 = NEW_TABLE + 15;
    pub(in super::super) const GET_GENERATION: u16 = NEW_TABLE + 16;
}

/// `NFTA_LIST_ELEM`: an item of any list.
pub(super) const LIST_ELEMENT: u16 = 1;

/// `NFTA_TABLE_NAME`, and the table's name in messages about chains, rules, sets and elements.
pub(super) const TABLE_NAME: u16 = 1;

/// `NFTA_GEN_*`.
pub(super) mod generation {
    pub(in super::super) const ID: u16 = 1;
}

/// `NFTA_CHAIN_*` and `NFTA_HOOK_*`.
pub(super) mod chain {
    pub(in super::super) const NAME: u16 = 3;
    pub(in super::super) const HOOK: u16 = 4;
    pub(in super::super) const POLICY: u16 = 5;
    pub(in super::super) const TYPE: u16 = 7;
    pub(in super::super) const HOOK_NUMBER: u16 = 1;
    pub(in super::super) const HOOK_PRIORITY: u16 = 2;
}

/// `NFTA_RULE_*` and `NFTA_EXPR_*`.
pub(super) mod rule {
    pub(in super::super) const CHAIN: u16 = 2;
    pub(in super::super) const HANDLE: u16 = 3;
    pub(in super::super) const EXPRESSIONS: u16 = 4;
    pub(in super::super) const POSITION: u16 = 6;
    pub(in super::super) const USERDATA: u16 = 7;
    pub(in super::super) const EXPRESSION_NAME: u16 = 1;
    pub(in super::super) const EXPRESSION_DATA: u16 = 2;
    /// `NFTNL_UDATA_RULE_COMMENT`.
    pub(in super::super) const USERDATA_COMMENT: u8 = 0;
}

/// `NFTA_SET_*`.
pub(super) mod set {
    pub(in super::super) const NAME: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 3;
    pub(in super::super) const KEY_TYPE: u16 = 4;
    pub(in super::super) const KEY_LENGTH: u16 = 5;
    pub(in super::super) const DATA_TYPE: u16 = 6;
    pub(in super::super) const DATA_LENGTH: u16 = 7;
    pub(in super::super) const DESCRIPTION: u16 = 9;
    pub(in super::super) const ID: u16 = 10;
    pub(in super::super) const USERDATA: u16 = 13;
    pub(in super::super) const DESCRIPTION_SIZE: u16 = 1;
    pub(in super::super) const DESCRIPTION_FIELDS: u16 = 2;
    pub(in super::super) const FIELD_LENGTH: u16 = 1;

    pub(in super::super) const ANONYMOUS: u32 = 0x1;
    pub(in super::super) const CONSTANT: u32 = 0x2;
    pub(in super::super) const INTERVAL: u32 = 0x4;
    pub(in super::super) const MAP: u32 = 0x8;
    pub(in super::super) const CONCATENATION: u32 = 0x80;
    /// `NFT_DATA_VERDICT`.
    pub(in super::super) const VERDICT: u32 = 0xffff_ff00;
}

/// `NFTA_SET_ELEM_LIST_*` and `NFTA_SET_ELEM_*`.
pub(super) mod element {
    pub(in super::super) const SET_NAME: u16 = 2;
    pub(in super::super) const LIST: u16 = 3;
    pub(in super::super) const SET_ID: u16 = 4;
    pub(in super::super) const KEY: u16 = 1;
    pub(in super::super) const DATA: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 3;
    pub(in super::super) const TIMEOUT: u16 = 4;
    pub(in super::super) const USERDATA: u16 = 6;
    pub(in super::super) const KEY_END: u16 = 10;
    pub(in super::super) const INTERVAL_END: u32 = 1;
    pub(in super::super) const CATCH_ALL: u32 = 2;
}

/// `NFTA_DATA_*`, `NFTA_VERDICT_*` and `enum nft_verdicts`.
pub(super) mod data {
    pub(in super::super) const VALUE: u16 = 1;
    pub(in super::super) const VERDICT: u16 = 2;
    pub(in super::super) const CODE: u16 = 1;
    pub(in super::super) const CHAIN: u16 = 2;
    pub(in super::super) const DROP: i32 = 0;
    pub(in super::super) const ACCEPT: i32 = 1;
    pub(in super::super) const JUMP: i32 = -3;
    pub(in super::super) const GOTO: i32 = -4;
    pub(in super::super) const RETURN: i32 = -5;
}

/// Types of data as nft numbers them (its `enum datatypes`), six bits each in a concatenation.
pub(super) mod datatype {
    pub(in super::super) const IPV4: u32 = 7;
    pub(in super::super) const IPV6: u32 = 8;
    pub(in super::super) const PROTOCOL: u32 = 12;
    pub(in super::super) const SERVICE: u32 = 13;
    pub(in super::super) const ICMP_TYPE: u32 = 14;
    pub(in super::super) const ICMPV6_TYPE: u32 = 29;
    pub(in super::super) const ICMP_CODE: u32 = 32;
    pub(in super::super) const ICMPV6_CODE: u32 = 33;
    pub(in super::super) const INTERFACE: u32 = 41;
}
