// A worker in JavaScript among others. Argument: address.
const { NoOpLogger, TaskHubGrpcWorker } = require("@microsoft/durabletask-js");

const shout = async (_, text) => `${text.toUpperCase()}!`;

const options = { hostAddress: process.argv[2], logger: new NoOpLogger(), workItemFilters: "auto" };
const worker = new TaskHubGrpcWorker(options);
worker.addActivity(shout);
worker.start();
