"""Register tables of the SunSpec models our demonstration devices have, as a device's maker would write them down.

They share no code with the node. Each point is ``name:type``, with ``*`` where it may be written; a string's length
is in registers. Types: u, i, a (counter), e (code), b (bits) with their bits, sf (scale factor), s (string), pad.
"""

CURVES, POINTS = 3, 4
"""How many curves the demonstration's smart inverter stores of each function, and of how many points."""


def _sets(name: str, each: str, points: str = "", zones: tuple[str, ...] = ("",)) -> str:
    """Return the stored sets of a function: what is in ``each``, then the points of its curves."""
    found = []
    for number in range(1, CURVES + 1):
        head = f"{name}.{number}."
        found += [head + one for one in each.split()]
        for zone in zones if points else ():
            found += [f"{head}{zone}ActPt:u16*"] * bool(zone)
            found += [f"{head}{zone}Pt.{at}.{one}" for at in range(1, POINTS + 1) for one in points.split()]
    return " ".join(found)


_ADOPTED = "Ena:e16* AdptCrvReq:u16* AdptCrvRslt:e16 NPt:u16 "
_REVERTED = "NCrv:u16 RvrtTms:u32* RvrtRem:u32 RvrtCrv:u16* "
_TRIPS = ("MustTrip.", "MayTrip.", "MomCess.")

TABLES: dict[int, str] = {
    1: "Mn:s16 Md:s16 Opt:s8 Vr:s8 SN:s16 DA:u16* Pad:pad",
    103: """
        A:u16 AphA:u16 AphB:u16 AphC:u16 A_SF:sf PPVphAB:u16 PPVphBC:u16 PPVphCA:u16 PhVphA:u16 PhVphB:u16 PhVphC:u16
        V_SF:sf W:i16 W_SF:sf Hz:u16 Hz_SF:sf VA:i16 VA_SF:sf VAr:i16 VAr_SF:sf PF:i16 PF_SF:sf WH:a32 WH_SF:sf
        DCA:u16 DCA_SF:sf DCV:u16 DCV_SF:sf DCW:i16 DCW_SF:sf TmpCab:i16 TmpSnk:i16 TmpTrns:i16 TmpOt:i16 Tmp_SF:sf
        St:e16 StVnd:e16 Evt1:b32 Evt2:b32 EvtVnd1:b32 EvtVnd2:b32 EvtVnd3:b32 EvtVnd4:b32""",
    120: """
        DERTyp:e16 WRtg:u16 WRtg_SF:sf VARtg:u16 VARtg_SF:sf VArRtgQ1:i16 VArRtgQ2:i16 VArRtgQ3:i16 VArRtgQ4:i16
        VArRtg_SF:sf ARtg:u16 ARtg_SF:sf PFRtgQ1:i16 PFRtgQ2:i16 PFRtgQ3:i16 PFRtgQ4:i16 PFRtg_SF:sf WHRtg:u16
        WHRtg_SF:sf AhrRtg:u16 AhrRtg_SF:sf MaxChaRte:u16 MaxChaRte_SF:sf MaxDisChaRte:u16 MaxDisChaRte_SF:sf
        Pad:pad""",
    121: """
        WMax:u16 VRef:u16 VRefOfs:i16 VMax:u16 VMin:u16 VAMax:u16 VArMaxQ1:i16 VArMaxQ2:i16 VArMaxQ3:i16 VArMaxQ4:i16
        WGra:u16 PFMinQ1:i16 PFMinQ2:i16 PFMinQ3:i16 PFMinQ4:i16 VArAct:e16 ClcTotVA:e16 MaxRmpRte:u16 ECPNomHz:u16
        ConnPh:e16 WMax_SF:sf VRef_SF:sf VRefOfs_SF:sf VMinMax_SF:sf VAMax_SF:sf VArMax_SF:sf WGra_SF:sf PFMin_SF:sf
        MaxRmpRte_SF:sf ECPNomHz_SF:sf""",
    123: """
        Conn_WinTms:u16 Conn_RvrtTms:u16 Conn:e16 WMaxLimPct:u16* WMaxLimPct_WinTms:u16 WMaxLimPct_RvrtTms:u16*
        WMaxLimPct_RmpTms:u16 WMaxLim_Ena:e16* OutPFSet:i16 OutPFSet_WinTms:u16 OutPFSet_RvrtTms:u16
        OutPFSet_RmpTms:u16 OutPFSet_Ena:e16 VArWMaxPct:i16 VArMaxPct:i16 VArAvalPct:i16 VArPct_WinTms:u16
        VArPct_RvrtTms:u16 VArPct_RmpTms:u16 VArPct_Mod:e16 VArPct_Ena:e16 WMaxLimPct_SF:sf OutPFSet_SF:sf
        VArPct_SF:sf""",
    124: """
        WChaMax:u16 WChaGra:u16 WDisChaGra:u16 StorCtl_Mod:b16* VAChaMax:u16 MinRsvPct:u16 ChaState:u16 StorAval:u16
        InBatV:u16 ChaSt:e16 OutWRte:i16* InWRte:i16* InOutWRte_WinTms:u16 InOutWRte_RvrtTms:u16* InOutWRte_RmpTms:u16
        ChaGriSet:e16 WChaMax_SF:sf WChaDisChaGra_SF:sf VAChaMax_SF:sf MinRsvPct_SF:sf ChaState_SF:sf StorAval_SF:sf
        InBatV_SF:sf InOutWRte_SF:sf""",
    701: """
        ACType:e16 St:e16 InvSt:e16 ConnSt:e16 Alrm:b32 DERMode:b32 W:i16 VA:i16 Var:i16 PF:i16 A:i16 LLV:u16 LNV:u16
        Hz:u32 TotWhInj:u64 TotWhAbs:u64 TotVarhInj:u64 TotVarhAbs:u64 TmpAmb:i16 TmpCab:i16 TmpSnk:i16 TmpTrns:i16
        TmpSw:i16 TmpOt:i16 WL1:i16 VAL1:i16 VarL1:i16 PFL1:i16 AL1:i16 VL1L2:u16 VL1:u16 TotWhInjL1:u64
        TotWhAbsL1:u64 TotVarhInjL1:u64 TotVarhAbsL1:u64 WL2:i16 VAL2:i16 VarL2:i16 PFL2:i16 AL2:i16 VL2L3:u16
        VL2:u16 TotWhInjL2:u64 TotWhAbsL2:u64 TotVarhInjL2:u64 TotVarhAbsL2:u64 WL3:i16 VAL3:i16 VarL3:i16 PFL3:i16
        AL3:i16 VL3L1:u16 VL3:u16 TotWhInjL3:u64 TotWhAbsL3:u64 TotVarhInjL3:u64 TotVarhAbsL3:u64 ThrotPct:u16
        ThrotSrc:b32 A_SF:sf V_SF:sf Hz_SF:sf W_SF:sf PF_SF:sf VA_SF:sf Var_SF:sf TotWh_SF:sf TotVarh_SF:sf Tmp_SF:sf
        MnAlrmInfo:s32""",
    702: """
        WMaxRtg:u16 WOvrExtRtg:u16 WOvrExtRtgPF:u16 WUndExtRtg:u16 WUndExtRtgPF:u16 VAMaxRtg:u16 VarMaxInjRtg:u16
        VarMaxAbsRtg:u16 WChaRteMaxRtg:u16 WDisChaRteMaxRtg:u16 VAChaRteMaxRtg:u16 VADisChaRteMaxRtg:u16 VNomRtg:u16
        VMaxRtg:u16 VMinRtg:u16 AMaxRtg:u16 PFOvrExtRtg:u16 PFUndExtRtg:u16 ReactSusceptRtg:u16 NorOpCatRtg:e16
        AbnOpCatRtg:e16 CtrlModes:b32 IntIslandCatRtg:b16 WMax:u16 WMaxOvrExt:u16 WOvrExtPF:u16 WMaxUndExt:u16
        WUndExtPF:u16 VAMax:u16 VarMaxInj:u16 VarMaxAbs:u16 WChaRteMax:u16 WDisChaRteMax:u16 VAChaRteMax:u16
        VADisChaRteMax:u16 VNom:u16 VMax:u16 VMin:u16 AMax:u16 PFOvrExt:u16 PFUndExt:u16 IntIslandCat:b16 W_SF:sf
        PF_SF:sf VA_SF:sf Var_SF:sf V_SF:sf A_SF:sf S_SF:sf""",
    704: """
        PFWInjEna:e16* PFWInjEnaRvrt:e16* PFWInjRvrtTms:u32* PFWInjRvrtRem:u32 PFWAbsEna:e16* PFWAbsEnaRvrt:e16*
        PFWAbsRvrtTms:u32* PFWAbsRvrtRem:u32 WMaxLimPctEna:e16* WMaxLimPct:u16* WMaxLimPctRvrt:u16*
        WMaxLimPctEnaRvrt:e16* WMaxLimPctRvrtTms:u32* WMaxLimPctRvrtRem:u32 WSetEna:e16* WSetMod:e16* WSet:i32*
        WSetRvrt:i32* WSetPct:i16* WSetPctRvrt:i16* WSetEnaRvrt:e16* WSetRvrtTms:u32* WSetRvrtRem:u32 VarSetEna:e16*
        VarSetMod:e16* VarSetPri:e16* VarSet:i32* VarSetRvrt:i32* VarSetPct:i16* VarSetPctRvrt:i16* VarSetEnaRvrt:e16*
        VarSetRvrtTms:u32* VarSetRvrtRem:u32 WRmp:u16 WRmpRef:e16 VarRmp:u16 AntiIslEna:e16 PF_SF:sf WMaxLimPct_SF:sf
        WSet_SF:sf WSetPct_SF:sf VarSet_SF:sf VarSetPct_SF:sf PFWInj.PF:u16* PFWInj.Ext:e16* PFWInjRvrt.PF:u16*
        PFWInjRvrt.Ext:e16* PFWAbs.PF:u16* PFWAbs.Ext:e16* PFWAbsRvrt.PF:u16* PFWAbsRvrt.Ext:e16*""",
    705: _ADOPTED
    + _REVERTED
    + "V_SF:sf DeptRef_SF:sf RspTms_SF:sf "
    + _sets(
        "Crv",
        "ActPt:u16* DeptRef:e16* Pri:e16* VRef:u16* VRefAuto:u16 VRefAutoEna:e16* VRefAutoTms:u16* RspTms:u32* "
        "ReadOnly:e16",
        "V:u16* Var:i16*",
    ),
    706: _ADOPTED
    + _REVERTED
    + "V_SF:sf DeptRef_SF:sf RspTms_SF:sf "
    + _sets("Crv", "ActPt:u16* DeptRef:e16* RspTms:u32* ReadOnly:e16", "V:u16* W:i16*"),
    707: _ADOPTED + "NCrvSet:u16 V_SF:sf Tms_SF:sf " + _sets("Crv", "ReadOnly:e16", "V:u16* Tms:u32*", _TRIPS),
    711: "Ena:e16* AdptCtlReq:u16* AdptCtlRslt:e16 NCtl:u16 RvrtTms:u32* RvrtRem:u32 RvrtCtl:u16* Db_SF:sf K_SF:sf "
    "RspTms_SF:sf " + _sets("Ctl", "DbOf:u32* DbUf:u32* KOf:u16* KUf:u16* RspTms:u32* PMin:i16* ReadOnly:e16"),
    712: _ADOPTED
    + _REVERTED
    + "W_SF:sf DeptRef_SF:sf "
    + _sets("Crv", "ActPt:u16* DeptRef:e16* Pri:e16* ReadOnly:e16", "W:i16* Var:i16*"),
    713: "WHRtg:u16 WHAvail:u16 SoC:u16 SoH:u16 Sta:e16 WH_SF:sf Pct_SF:sf",
    715: "LocRemCtl:e16 DERHb:u32 ControllerHb:u32* AlarmReset:u16* OpCtl:e16*",
    802: """
        AHRtg:u16 WHRtg:u16 WChaRteMax:u16 WDisChaRteMax:u16 DisChaRte:u16 SoCMax:u16 SoCMin:u16 SocRsvMax:u16*
        SoCRsvMin:u16* SoC:u16 DoD:u16 SoH:u16 NCyc:u32 ChaSt:e16 LocRemCtl:e16 Hb:u16 CtrlHb:u16 AlmRst:u16* Typ:e16
        State:e16 StateVnd:e16 WarrDt:u32 Evt1:b32 Evt2:b32 EvtVnd1:b32 EvtVnd2:b32 V:u16 VMax:u16 VMin:u16
        CellVMax:u16 CellVMaxStr:u16 CellVMaxMod:u16 CellVMin:u16 CellVMinStr:u16 CellVMinMod:u16 CellVAvg:u16 A:i16
        AChaMax:u16 ADisChaMax:u16 W:i16 ReqInvState:e16 ReqW:i16 SetOp:e16* SetInvState:e16 AHRtg_SF:sf WHRtg_SF:sf
        WChaDisChaMax_SF:sf DisChaRte_SF:sf SoC_SF:sf DoD_SF:sf SoH_SF:sf V_SF:sf CellV_SF:sf A_SF:sf AMax_SF:sf
        W_SF:sf""",
}
