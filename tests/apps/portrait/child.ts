import { greeting } from "@lib/greeting";

process.send!([process.execPath, process.argv.slice(2), process.env.GREETING, greeting]);
