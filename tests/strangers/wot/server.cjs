// node-wot as a server of as many Things as its argument says, each with one property; says its port, and ends with its
// standard input. What it is compared with stands in benchmarks/properties.py.
const { Servient } = require("@node-wot/core");
const { HttpServer } = require("@node-wot/binding-http");

(async () => {
  const server = new HttpServer({ port: 0, address: "127.0.0.1" });
  const servient = new Servient();
  servient.addServer(server);
  const wot = await servient.start();
  for (let number = 0; number < Number(process.argv[2]); number++) {
    const properties = { voltage: { type: "number", unit: "V", readOnly: true } };
    const thing = await wot.produce({ title: `m${number}`, properties });
    thing.setPropertyReadHandler("voltage", async () => 230.5);
    await thing.expose();
  }
  console.log(JSON.stringify({ port: server.getPort() }));
  process.stdin.on("end", () => process.exit(0)).resume();
})();
