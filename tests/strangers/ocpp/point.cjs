// ocpp-rpc, another party's OCPP client, as a charge point: boots, charges, obeys a limit, ends; checks every frame itself.
// Usage: node point.cjs ENDPOINT IDENTITY VERSION, the password on standard input; what happened is printed as JSON lines.
const { RPCClient, createRPCError } = require("ocpp-rpc");
const readline = require("node:readline");

const [endpoint, identity, version] = process.argv.slice(2);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what) => console.log(JSON.stringify(what));
const now = () => new Date().toISOString();
const six = version === "1.6";

async function main() {
  const password = (await lines.next()).value;
  const point = new RPCClient({
    endpoint, identity, password, protocols: [`ocpp${version}`], strictMode: true, reconnect: false,
  });
  const limits = { 0: 32 };
  point.handle("SetChargingProfile", ({ params }) => {
    const profile = six ? params.csChargingProfiles : params.chargingProfile;
    const schedule = six ? profile.chargingSchedule : profile.chargingSchedule[0];
    limits[profile.stackLevel] = schedule.chargingSchedulePeriod[0].limit;
    say({ profile });
    return { status: "Accepted" };
  });
  point.handle("GetCompositeSchedule", () => {
    const period = { startPeriod: 0, limit: limits[1] ?? limits[0] };
    const schedule = { chargingRateUnit: "A", chargingSchedulePeriod: [period] };
    return six
      ? { status: "Accepted", connectorId: 1, scheduleStart: now(), chargingSchedule: schedule }
      : { status: "Accepted", schedule: { evseId: 1, duration: 60, scheduleStart: now(), ...schedule } };
  });
  point.handle(() => { throw createRPCError("NotSupported"); });
  await point.connect();
  say({ connected: point.protocol });
  for await (const line of lines) {
    const { action, payload } = JSON.parse(line);
    try {
      say({ answer: await point.call(action, payload) });
    } catch (error) {
      say({ error: error.rpcErrorCode ?? String(error) });
    }
  }
  await point.close();
}

main().catch((error) => { say({ failed: String(error) }); process.exit(1); });
