// Package program holds what the programs of this folder share: an address, a worker, a client, checks with a reason.
package program

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/microsoft/durabletask-go/api"
	"github.com/microsoft/durabletask-go/client"
	"github.com/microsoft/durabletask-go/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Client is the SDK's client, with shorter ways to wait.
type Client struct {
	*client.TaskHubGrpcClient
	Context context.Context
}

// Run connects a worker that runs what is registered, and then runs the body.
func Run(registry *task.TaskRegistry, body func(c Client)) {
	address := "localhost:4001"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	connection, err := grpc.Dial(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	Must(err)
	defer connection.Close()
	c := Client{client.NewTaskHubGrpcClient(connection, quiet{}), ctx}
	Must(c.StartWorkItemListener(ctx, registry))
	body(c)
}

// Start starts an orchestration.
func (c Client) Start(name string, options ...api.NewOrchestrationOptions) api.InstanceID {
	id, err := c.ScheduleNewOrchestration(c.Context, name, options...)
	Must(err)
	return id
}

// EndOf waits for the end of an instance.
func (c Client) EndOf(id api.InstanceID) *api.OrchestrationMetadata {
	state, err := c.WaitForOrchestrationCompletion(c.Context, id, api.WithFetchPayloads(true))
	Must(err)
	return state
}

// Until waits until an instance has a status.
func (c Client) Until(id api.InstanceID, status api.OrchestrationStatus) *api.OrchestrationMetadata {
	for {
		state, err := c.FetchOrchestrationMetadata(c.Context, id, api.WithFetchPayloads(true))
		Must(err)
		if state.RuntimeStatus == status {
			return state
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Brings checks that an instance completes with this output.
func (c Client) Brings(id api.InstanceID, expected any) {
	state := c.EndOf(id)
	Check(state.RuntimeStatus, api.RUNTIME_STATUS_COMPLETED, state.Name)
	text, err := json.Marshal(expected)
	Must(err)
	Check(state.SerializedOutput, string(text), state.Name)
}

// Must ends the program at an error.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// Check ends the program if something is not as expected.
func Check(actual, expected any, what string) {
	if !reflect.DeepEqual(actual, expected) {
		panic(fmt.Sprintf("%s: expected %v, got %v", what, expected, actual))
	}
}

// quiet is the SDK's logger without a voice.
type quiet struct{}

func (quiet) Debug(...any)          {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Info(...any)           {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warn(...any)           {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Error(...any)          {}
func (quiet) Errorf(string, ...any) {}
